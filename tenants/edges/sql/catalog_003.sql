-- Tenants that are suspended, and how much each may hold.

ALTER TABLE tenants.tenants
    ADD COLUMN suspended_at timestamptz,  -- since when its logins are shut out
    ADD COLUMN size         text NOT NULL DEFAULT '10GB';
