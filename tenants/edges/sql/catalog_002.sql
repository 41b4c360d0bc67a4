-- What a tenant is wanted to be: limits of its logins, a role of its own for the app, readers over several tenants.

ALTER TABLE tenants.tenants
    ADD COLUMN connections          integer NOT NULL DEFAULT 20 CHECK (connections > 0),
    ADD COLUMN statement_timeout    text NOT NULL DEFAULT '5min',
    ADD COLUMN lock_timeout         text NOT NULL DEFAULT '30s',
    ADD COLUMN idle_timeout         text NOT NULL DEFAULT '10min',  -- idle_in_transaction_session_timeout
    ADD COLUMN temp_file_limit      text NOT NULL DEFAULT '1GB',
    ADD COLUMN app_role             boolean NOT NULL DEFAULT false;

ALTER TABLE tenants.logins
    ADD COLUMN kind     text NOT NULL DEFAULT 'owner' CHECK (kind IN ('owner', 'app')),  -- whom it becomes
    ADD COLUMN verifier text,         -- a digest of what the server keeps instead of the password
    ADD COLUMN retired_at timestamptz;  -- since when it is to go, as soon as no session uses it any more

CREATE TABLE tenants.readers (
    role       text PRIMARY KEY,
    tenants    text[] NOT NULL,
    verifier   text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Extensions that a tenant has asked for; they lie in the schema `extensions`, for all.
CREATE TABLE tenants.extensions (
    tenant text NOT NULL REFERENCES tenants.tenants ON DELETE CASCADE,
    name   text NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE SCHEMA IF NOT EXISTS extensions;
GRANT USAGE ON SCHEMA extensions TO "tenants~members";
