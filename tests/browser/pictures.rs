//! The README's pictures, taken anew at each run into `target/pictures`; `make pictures` puts them into `docs/images`. The
//! event is a real one. The overview's hour is made up: the webhooks are registered, their attempts put into the log; what
//! shows them is the page as it is.

use tests::Answer;

use crate::browser::Visit;

/// Some hundred attempts over the last hour by four webhooks, of which one fails now and one has been disabled for it.
const AN_HOUR: &str = "
    SELECT setseed(0.4);
    SELECT webhooks.create_partition('webhooks.attempt', (now() AT TIME ZONE 'UTC')::date - 1);
    SELECT webhooks.register('https://hooks.fournisseur-xyz.example/productsmanager', '{product.*,stock.low_alert}', 's', description => 'Fournisseur XYZ, catalogue'),
           webhooks.register('https://erp.maison-durand.example/webhooks?tenant=durand', '{import.completed,import.failed}', 's', description => 'ERP, équipe logistique'),
           webhooks.register('https://api.partner-shop.example/webhooks', '{*}', 's', description => 'Partner shop'),
           webhooks.register('https://legacy.stock-alerts.example/notify', '{stock.low_alert}', 's', description => 'Old alerting, to be replaced');
    INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event, error)
    SELECT now() - age, endpoint, 0, CASE WHEN fails THEN 503 ELSE 200 END, (40 + 60 * endpoint * (1 + random() ^ 4)) ::integer,
           (CASE WHEN fails THEN 'retry' ELSE 'delivered' END)::webhooks.outcome, 'wh_' || lpad(n::text, 26, '0'),
           CASE endpoint WHEN 2 THEN 'import.completed' WHEN 4 THEN 'stock.low_alert' ELSE 'product.updated' END,
           CASE WHEN fails THEN 'HTTP 503 Service Unavailable' END
      FROM (SELECT n, age, endpoint, endpoint = 4 OR endpoint = 2 AND age < '9 min' AND random() < 0.7 AS fails
              FROM (SELECT n, interval '1 h' * n / 900, 1 + (n * 7 % 29 > 14)::integer + (n * 7 % 29 > 19)::integer FROM generate_series(1, 900) n
                     WHERE random() < 0.3 + 0.3 * sin(n / 90.0) + 0.3 * sin(n / 31.0) ^ 2
                     UNION ALL SELECT 1000 + n, interval '45 min' + interval '1 min' * n, 4 FROM generate_series(1, 6) n) hour (n, age, endpoint)) attempts;
    INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
    SELECT 2, '3', n, now(), now() + interval '3 min' * n, 2 FROM generate_series(1, 7) n;
    UPDATE webhooks.endpoint SET active = false, disabled_at = now() - interval '46 min', disabled_by = 'exhausted',
           disabled_reason = 'wh_00000000000000000000001001 failed 6 times, at last with HTTP 503'
     WHERE key = 4";

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_has_its_picture_taken() {
    // Before anybody looks: the history is asked for every ten seconds.
    let visit = Visit::begin().await;
    let Visit { db, browser, .. } = &visit;
    db.run(AN_HOUR).await;
    let token = db.token("camille", "manage").await;
    browser.go("/").await;
    browser.sign_in(&token).await;
    browser.sees("2 webhooks need attention.").await;
    browser.sees_no("0 delivered, 0 failed").await;
    browser.take_picture("page").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_its_picture_taken() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    db.retry_schedule("2s, 3s, 15min, 1h, 6h").await;
    let busy = || Answer::status(503).body("No server is available to handle this request.");
    receiver.answer_in_turn("/webhooks/productsmanager", [busy(), busy(), Answer::status(200)]);
    let endpoint = db.register(&receiver.url("/webhooks/productsmanager"), "import.*", "secret").await;
    let webhook_id: String = db.one(&format!("SELECT webhooks.trigger('{endpoint}', 'import.completed')")).await;
    browser.go(&format!("/#/events/{webhook_id}")).await;
    browser.sees("retry 2").await;
    browser.wait("it is delivered", "return document.querySelector('tbody tr').innerText.includes('delivered')").await;
    let open = "const [first, ...rest] = document.querySelectorAll('.attempt details');
                for (const details of [first, rest.at(-1)]) details.open = true;";
    browser.run(open).await;
    browser.take_picture("page-event").await;
}
