-- Commands of other tools, that were run in the place of revisions.

ALTER TABLE tenants.deploys
    DROP CONSTRAINT deploys_kind_check,
    DROP CONSTRAINT deploys_outcome_check,
    ADD CHECK (kind IN ('deploy', 'restore', 'drop', 'adopt', 'undo', 'run')),
    ADD CHECK (outcome IN ('migrated', 'failed', 'restored', 'dropped', 'adopted', 'undone', 'unchanged')),
    ADD COLUMN command text CHECK (length(command) <= 1000),
    ADD COLUMN output  text CHECK (length(output) <= 4000),  -- the end of what it printed
    ADD COLUMN changed boolean;  -- whether definitions or rows were other ones after it, also where it failed
GRANT INSERT (command, output, changed) ON tenants.deploys TO "tenants~members";
