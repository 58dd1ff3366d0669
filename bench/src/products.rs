//! The sample application's database, filled.

use tests::{Cluster, Database};

/// Changes every product by one UPDATE.
pub const UPDATE: &str = "UPDATE products SET price = price + 1";

/// A database with that many products. Autovacuum leaves them alone: each measurement vacuums when it wants to.
pub async fn database_with_products(cluster: &Cluster, rows: u32) -> Database<'_> {
    let db = cluster.database().await;
    db.run("INSERT INTO suppliers (name) VALUES ('Fournisseur XYZ')").await;
    db.run(&format!(
        "INSERT INTO products (sku, name, price, stock, min_stock, supplier_id)
         SELECT 'SKU-' || n, 'Product number ' || n, 49.99, 100, 10, 1 FROM generate_series(1, {rows}) n"
    ))
    .await;
    db.run("ALTER TABLE products SET (autovacuum_enabled = off)").await;
    db.run("VACUUM ANALYZE products").await;
    db
}

/// Changes one product; the message carries its key as the SKU.
pub fn update_one(key: u32) -> String {
    format!("UPDATE products SET price = price + 1 WHERE id = {key}")
}

/// Registers `count` endpoints for `product.updated` in place of all there are, at an address where nobody listens.
pub async fn subscribe(db: &Database<'_>, count: u32) {
    db.run("DELETE FROM webhooks.endpoint").await;
    db.run(&format!(
        "SELECT webhooks.register('http://127.0.0.1:9/', ARRAY['product.updated'], 'secret ' || n)
           FROM generate_series(1, {count}) n"
    ))
    .await;
}
