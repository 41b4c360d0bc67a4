-- migrate:up
CREATE TABLE visits (
  path text PRIMARY KEY,
  times integer NOT NULL DEFAULT 1,
  last_at timestamptz NOT NULL DEFAULT now()
);

-- migrate:down
DROP TABLE visits;
