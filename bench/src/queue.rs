//! (d): the usual queue. Workers claim rows with SKIP LOCKED, mark them, and delete them when they are done.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::Database;
use tokio::task::JoinHandle;

const CREATE: &str = "
    CREATE TABLE queue (
        id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key        integer NOT NULL,
        body       text NOT NULL,
        state      text NOT NULL DEFAULT 'ready',
        claimed_at timestamptz
    );
    CREATE INDEX ON queue (id) WHERE state = 'ready';
    -- As every such queue is told to.
    ALTER TABLE queue SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)";

/// With IN, a plan made on old statistics may go through the whole table for each batch: the queue would stand still.
const CLAIM: &str = "
    UPDATE queue SET state = 'running', claimed_at = now()
     WHERE id = ANY (ARRAY(SELECT id FROM queue WHERE state = 'ready' ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED))
 RETURNING id, key";

/// A queue with one worker, which sends nothing: claimed is arrived.
pub struct Queue {
    claimed: Arc<Mutex<Vec<(u32, Instant)>>>,
    worker: JoinHandle<()>,
}

impl Queue {
    /// Makes the table and starts the worker.
    pub async fn start(db: &Database<'_>) -> Queue {
        db.run(CREATE).await;
        let session = db.session().await;
        let claimed = Arc::new(Mutex::new(Vec::new()));
        let taken = claimed.clone();
        let worker = tokio::spawn(async move {
            loop {
                let rows = session.rows(CLAIM).await;
                let at = Instant::now();
                if rows.is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let ids: Vec<String> = rows.iter().map(|row| row.get::<_, i64>(0).to_string()).collect();
                let keys = rows.iter().map(|row| (row.get::<_, i32>(1) as u32, at));
                taken.lock().expect("nobody panics under it").extend(keys);
                session.run(&format!("DELETE FROM queue WHERE id = ANY ('{{{}}}')", ids.join(","))).await;
            }
        });
        Queue { claimed, worker }
    }

    /// What a writer does: the same UPDATE, and the row of the queue.
    pub fn write(key: u32) -> String {
        let update = crate::products::update_one(key);
        let body = format!(
            r#"{{"event":"product.updated","data":{{"sku":"SKU-{key}","changes":{{"price":{{"old":49.99,"new":50.99}}}}}}}}"#
        );
        format!("{update}; INSERT INTO queue (key, body) VALUES ({key}, '{body}')")
    }

    /// What has been claimed, and when.
    pub fn claimed(&self) -> Vec<(u32, Instant)> {
        self.claimed.lock().expect("nobody panics under it").clone()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.worker.abort();
    }
}
