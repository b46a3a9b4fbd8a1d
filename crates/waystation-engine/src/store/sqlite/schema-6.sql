-- A notification is known by its id within its namespace: who may send to one cannot take ids away from others.
CREATE TABLE notifications (
    id INTEGER PRIMARY KEY,
    webhook_id TEXT NOT NULL,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    execution TEXT NOT NULL,
    received INTEGER NOT NULL,
    event BLOB NOT NULL,
    UNIQUE (namespace, webhook_id)
) STRICT;
INSERT INTO notifications (id, webhook_id, namespace, workflow, execution, received, event)
    SELECT id, webhook_id, namespace, workflow, execution, received, event FROM progress;
DROP TABLE progress;
ALTER TABLE notifications RENAME TO progress;
CREATE INDEX progress_workflow ON progress (namespace, workflow, id);
CREATE INDEX progress_received ON progress (received);
