//! Micro-benchmarks of the capture path, inside a Postgres backend: `make microbench`.
//!
//! Each benchmark makes what it needs in its own transaction, which is rolled back, and then hands one closure to
//! criterion. Compiled with the feature `pg_bench` alone: no build that is installed carries any of this.

use std::ffi::CString;

use pgrx::PgMemoryContexts;
use pgrx::prelude::*;

use super::plan::Plan;
use super::trigger;
use super::value::Writer;

/// The body of a `product.updated`.
const BODY: &str = r#"{"event":"product.updated","timestamp":"2026-11-23T22:10:31Z","webhook_id":"wh_00000000n40000007shm2fnpb8","data":{"product_id":1,"sku":"PROD-NEW-001","changes":{"name":{"old":"Fauteuil de bureau","new":"Fauteuil de bureau ergonomique"},"price":{"old":49.99,"new":39.99}},"updated_by":"alice@example.com"}}"#;

/// Makes the sample application's tables, attached, with that many products, and registers endpoints for their events.
fn open_shop(products: u32, endpoints: u32) {
    let tables = include_str!("../../../sql/examples/products_manager.sql");
    run(&format!("CREATE SCHEMA shop; SET LOCAL search_path = shop; {tables}"));
    run(&format!(
        "ALTER TABLE products SET (fillfactor = 45);
         INSERT INTO suppliers (name) VALUES ('Fournisseur XYZ');
         INSERT INTO products (sku, name, price, stock, min_stock, supplier_id, created_by, updated_by)
         SELECT 'PROD-' || n, 'Fauteuil de bureau', 49.99, 100, 10, 1, 'alice@example.com', 'alice@example.com'
           FROM generate_series(1, {products}) n;
         SELECT webhooks.attach('products');
         SELECT webhooks.register('http://127.0.0.1:9/', '{{product.*}}', 'secret ' || n)
           FROM generate_series(1, {endpoints}) n"
    ));
}

fn run(sql: &str) {
    Spi::run(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
}

fn count_events() -> i64 {
    Spi::get_one("SELECT count(*) FROM webhooks.event").expect("the log can be read").expect("count(*) is not NULL")
}

/// Does work as Postgres calls a trigger: in a memory context that is emptied after each row.
struct PerRow(PgMemoryContexts);

impl PerRow {
    fn new() -> Self {
        Self(PgMemoryContexts::new("a row"))
    }

    fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // SAFETY: what the work returns is Rust's own, and nothing else outlives the row.
        unsafe {
            let result = self.0.switch_to(|_| work());
            self.0.reset();
            result
        }
    }
}

/// What a trigger is called with when one product has been changed.
struct ProductChange {
    trigger: pg_sys::TriggerData,
    old: pg_sys::HeapTuple,
    new: pg_sys::HeapTuple,
    per_row: PerRow,
}

impl ProductChange {
    /// Changes a product's name and price.
    fn updated() -> Self {
        let old = a_product();
        run("UPDATE shop.products SET name = name || ' ergonomique', price = 39.99 WHERE id = 1");
        let event = pg_sys::TRIGGER_EVENT_UPDATE | pg_sys::TRIGGER_EVENT_ROW;
        // SAFETY: the table was made by open_shop and stays locked; its one trigger of ours is among its triggers.
        unsafe {
            let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let table = Spi::get_one::<pg_sys::Oid>("SELECT 'shop.products'::regclass::oid");
            let relation = pg_sys::table_open(table.expect("the shop is open").expect("an oid"), lock);
            let triggers = &*(*relation).trigdesc;
            let ours = std::slice::from_raw_parts_mut(triggers.triggers, triggers.numtriggers as usize)
                .iter_mut()
                .find(|trigger| std::ffi::CStr::from_ptr(trigger.tgname) == c"!webhooks_capture")
                .expect("the table is attached");
            let slot = || pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &pg_sys::TTSOpsHeapTuple);
            let trigger = pg_sys::TriggerData {
                type_: pg_sys::NodeTag::T_TriggerData,
                tg_event: event,
                tg_relation: relation,
                tg_trigger: ours,
                tg_trigslot: slot(),
                tg_newslot: slot(),
                ..Default::default()
            };
            Self { trigger, old, new: a_product(), per_row: PerRow::new() }
        }
    }

    /// The new row, inserted.
    fn inserted() -> Self {
        let mut change = Self::updated();
        change.trigger.tg_event = pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_ROW;
        change.old = change.new;
        change
    }

    /// Does work with the trigger's data as Postgres hands it over: rows in their slots, not yet taken apart.
    fn hand_over<T>(&mut self, work: impl FnOnce(&mut pg_sys::TriggerData) -> T) -> T {
        let Self { trigger, old, new, per_row } = self;
        // SAFETY: the tuples are the table's, and live as long as this.
        unsafe {
            pg_sys::ExecStoreHeapTuple(*old, trigger.tg_trigslot, false);
            pg_sys::ExecStoreHeapTuple(*new, trigger.tg_newslot, false);
        }
        per_row.run(|| work(trigger))
    }

    /// Calls the trigger function.
    fn capture(&mut self) {
        self.hand_over(|trigger| {
            let mut call =
                pg_sys::FunctionCallInfoBaseData { context: std::ptr::from_mut(trigger).cast(), ..Default::default() };
            // SAFETY: a call as Postgres makes it: no arguments, and the trigger's data as context.
            unsafe { trigger::capture(&mut call) }
        });
    }
}

impl Drop for ProductChange {
    fn drop(&mut self) {
        // SAFETY: made and opened by `updated`, and used by nothing else.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.trigger.tg_trigslot);
            pg_sys::ExecDropSingleTupleTableSlot(self.trigger.tg_newslot);
            pg_sys::table_close(self.trigger.tg_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// The first product as it is now.
fn a_product() -> pg_sys::HeapTuple {
    // SAFETY: the copy is made in the memory context of the caller of SPI_connect.
    unsafe {
        pg_sys::SPI_connect();
        let done = pg_sys::SPI_execute(c"SELECT * FROM shop.products WHERE id = 1".as_ptr(), false, 1);
        assert!(done == pg_sys::SPI_OK_SELECT as i32 && pg_sys::SPI_processed == 1, "there is a first product");
        let tuple = pg_sys::SPI_copytuple(*(*pg_sys::SPI_tuptable).vals);
        pg_sys::SPI_finish();
        tuple
    }
}

/// A column's value with its writer.
struct Value {
    writer: Writer,
    datum: pg_sys::Datum,
    per_row: PerRow,
}

impl Value {
    fn of(type_oid: pg_sys::Oid, text: &str) -> Self {
        let text = CString::new(text).expect("no NUL in it");
        let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        // SAFETY: the input function of a built-in type, with a C string.
        let datum = unsafe {
            pg_sys::getTypeInputInfo(type_oid, &mut input, &mut parameter);
            pg_sys::OidInputFunctionCall(input, text.as_ptr().cast_mut(), parameter, -1)
        };
        Self { writer: Writer::of(type_oid), datum, per_row: PerRow::new() }
    }

    fn push(&mut self, out: &mut Vec<u8>) {
        out.clear();
        // SAFETY: the value is of the writer's type.
        self.per_row.run(|| unsafe { self.writer.push(out, self.datum, usize::MAX).is_ok() });
    }
}

#[pg_schema]
mod benches {
    use std::rc::Rc;

    use pgrx::prelude::*;
    use pgrx_bench::{Bencher, black_box};
    use webhooks_core::signature::{self, Signer};
    use webhooks_core::time;

    use super::*;
    use crate::cache;
    use crate::capture::change::Change;
    use crate::event_log::{Body, Entry, Subject};

    /// Benchmarks of one length: a second and a half each. Without optimisation, where figures say nothing, just long
    /// enough to see that they run.
    macro_rules! benchmarks {
        ($($name:ident($bencher:ident) $body:block)*) => {
            $(
                #[cfg_attr(
                    not(debug_assertions),
                    pg_bench(sample_size = 40, warm_up_time_ms = 300, measurement_time_ms = 1_200)
                )]
                #[cfg_attr(
                    debug_assertions,
                    pg_bench(sample_size = 10, warm_up_time_ms = 5, measurement_time_ms = 20, nresamples = 1_001)
                )]
                fn $name($bencher: &mut Bencher) $body
            )*
        };
    }

    benchmarks! {
        json_text(b) { column(b, pg_sys::TEXTOID, "Fauteuil de bureau ergonomique, tissu gris anthracite") }
        json_text_escaped(b) {
            column(b, pg_sys::TEXTOID, "Étagère murale \"Nord\"\n24″ × 36″,\tfixations \\ chevilles incluses")
        }
        json_integer(b) { column(b, pg_sys::INT4OID, "123456") }
        json_bigint(b) { column(b, pg_sys::INT8OID, "9007199254740993") }
        json_numeric(b) { column(b, pg_sys::NUMERICOID, "1249.90") }
        json_float(b) { column(b, pg_sys::FLOAT8OID, "0.30000000000000004") }
        json_timestamp(b) { column(b, pg_sys::TIMESTAMPTZOID, "2026-11-23 22:10:31.123456+00") }
        json_jsonb(b) {
            let attributes = r#"{"weight": {"value": 12.50, "unit": "kg"}, "colours": ["anthracite", "bleu nuit", "crème"],
                "assembled": false, "dimensions": {"10": 118, "2": 65.0, "1": 64}, "ean": 3760123456789}"#;
            column(b, pg_sys::JSONBOID, attributes)
        }

        data_of_update(b) { data(b, ProductChange::updated, "product.updated") }
        data_of_insert(b) { data(b, ProductChange::inserted, "product.created") }

        sign(b) {
            let signer = Signer::plain("a secret");
            b.iter(move || black_box(signature::of_log(&signer, b"wh_00000000000000000000000000", black_box(BODY).as_bytes())));
        }

        append(b) {
            let subject = Subject { name: "product.updated", key: Some(1), target: None };
            let signer = cache::signer().expect("there is a key");
            let (mut per_row, mut body) = (PerRow::new(), Body::new());
            body.out().extend_from_slice(BODY.as_bytes());
            b.iter(move || {
                per_row.run(|| {
                    let entry = Entry::next();
                    let partition = cache::partition(time::day(entry.occurred_at), entry.xid()).expect("there is a log");
                    entry.append(&partition, subject, black_box(&mut body), &signer)
                })
            });
        }

        capture(b) {
            open_shop(1, 1);
            let mut change = ProductChange::updated();
            let before = count_events();
            change.capture();
            assert_eq!(count_events(), before + 1, "a change makes an event");
            b.iter(move || change.capture());
        }

        wanted(b) {
            open_shop(1, 1);
            let function = Spi::get_one::<pg_sys::Oid>("SELECT 'webhooks.wanted_products'::regproc::oid");
            let mut info = pg_sys::FmgrInfo::default();
            // SAFETY: the function is there; what is called with it takes no argument.
            unsafe { pg_sys::fmgr_info(function.expect("the extension is there").expect("an oid"), &mut info) };
            b.iter(move || {
                let mut call = pg_sys::FunctionCallInfoBaseData { flinfo: &mut info, ..Default::default() };
                // SAFETY: a call as Postgres makes it.
                unsafe { black_box(trigger::wanted(&mut call)) }
            });
        }

        update_bare(b) {
            open_shop(PRODUCTS, 1);
            run("SELECT webhooks.detach('shop.products')");
            update(b)
        }
        update_nobody_subscribes(b) {
            open_shop(PRODUCTS, 0);
            update(b)
        }
        update_captured_for_one(b) {
            open_shop(PRODUCTS, 1);
            update(b)
        }
    }

    /// Enough products that hardly one is updated twice.
    const PRODUCTS: u32 = if cfg!(debug_assertions) { 1_000 } else { 100_000 };

    /// One column's value as JSON.
    fn column(b: &mut Bencher, type_oid: pg_sys::Oid, text: &str) {
        let mut value = Value::of(type_oid, text);
        let mut out = Vec::with_capacity(512);
        b.iter(move || {
            value.push(&mut out);
            black_box(&out);
        });
    }

    /// From two rows to an event's `data`: which columns differ, and the JSON.
    fn data(b: &mut Bencher, change: fn() -> ProductChange, event: &str) {
        open_shop(1, 1);
        let mut change = change();
        let plan = change.hand_over(|trigger| cache::plan(trigger, Plan::compile)).expect("there is a plan");
        let place = plan.events.iter().position(|planned| planned.name == event).expect("somebody subscribes to it");
        let mut out = Vec::with_capacity(512);
        b.iter(move || {
            out.clear();
            change.hand_over(|trigger| {
                let change = Change::of(trigger, &plan);
                let mut changes = None;
                assert!(change.makes(&plan.events[place], &mut changes), "the change makes the event");
                change.push_data(&mut out, &plan.events[place], changes.as_ref(), usize::MAX);
            });
            black_box(&out);
        });
    }

    /// The statement that changes one product.
    fn update(b: &mut Bencher) {
        let types = [PgBuiltInOids::INT4OID.into()];
        let statement = Spi::connect_mut(|client| {
            let sql = "UPDATE shop.products SET price = price + 1 WHERE id = $1";
            client.prepare_mut(sql, &types).expect("a statement").keep()
        });
        let statement = Rc::new(statement);
        let mut id = 0;
        b.iter(move || {
            id = id % PRODUCTS as i32 + 1;
            Spi::connect_mut(|client| client.update(&*statement, None, &[id.into()]).expect("it runs").len())
        });
    }
}
