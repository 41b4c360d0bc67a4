-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY most_visited ON visits (times DESC, path);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY most_visited;
