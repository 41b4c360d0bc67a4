-- migrate:up
CREATE TABLE items (name text PRIMARY KEY);

INSERT INTO items (name) VALUES ('apple'), ('another-apple'), ('banana'), ('carrot');

-- migrate:down
DROP TABLE items;
