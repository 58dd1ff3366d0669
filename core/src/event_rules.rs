//! Which events a row change makes, and what is in them: the specification's nine, as data. Pure.
//!
//! A `Kind` describes a sort of table by the specification's field names. `plan` compiles it for one real table.

/// A sort of table: its fields and the events its rows make.
pub struct Kind {
    /// The name by which `attach` knows it.
    pub name: &'static str,
    /// The columns it has, by the specification's names.
    pub fields: &'static [Field],
    /// The fields that tell which row a message is of: what is left of one that would be too long.
    pub identity: &'static [&'static str],
    /// Its events, in the order in which one change makes them.
    pub events: &'static [EventRule],
}

/// A column that a kind of table has.
pub struct Field {
    /// The specification's name; the table may have another one.
    pub name: &'static str,
    /// Whether a table without it cannot be attached.
    pub required: bool,
}

/// One event: when it happens and what its `data` holds.
pub struct EventRule {
    /// Its name, as subscribed to.
    pub name: &'static str,
    /// The row change that makes it.
    pub when: When,
    /// The members of `data`, in order.
    pub data: &'static [(&'static str, Source)],
}

/// The row change that makes an event.
pub enum When {
    /// A row is inserted.
    Inserted,
    /// A row is updated, and a column that is not bookkeeping gets another value.
    Changed,
    /// A row is deleted.
    Deleted,
    /// A number falls below another, by an insert or an update of either.
    FallsBelow(&'static str, &'static str),
    /// A field takes this value, by an insert or an update.
    Becomes(&'static str, &'static str),
}

/// Where a value of `data` comes from.
pub enum Source {
    /// The row: the new one, or at a delete the old one.
    Column(&'static str),
    /// An object with the old and new value of each column that changed.
    Changes,
    /// Setting `pg_webhooks.actor`, else this column, else the session's user.
    Actor(&'static str),
    /// Setting `pg_webhooks.reason`, else null.
    Reason,
    /// Whole seconds from one column to another.
    SecondsBetween(&'static str, &'static str),
    /// This column, or without it the name that the supplier has whom the other column names.
    SupplierName(&'static str, &'static str),
    /// A constant.
    Text(&'static str),
    /// A nested object.
    Object(&'static [(&'static str, Source)]),
}

impl Kind {
    /// The members of an event's `data` that tell which row it is of.
    pub fn identity_of<'e>(
        &'e self,
        event: &'e EventRule,
    ) -> impl Iterator<Item = &'static (&'static str, Source)> + 'e {
        let is_identity = |source: &Source| matches!(source, Column(field) if self.identity.contains(field));
        event.data.iter().filter(move |(_, source)| is_identity(source))
    }
}

/// Columns that say when and by whom a row was touched: no change of theirs is news.
pub const BOOKKEEPING_FIELDS: [&str; 2] = ["updated_at", "updated_by"];

/// The kind of this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

use Source::{Actor, Changes, Column, Object, Reason, SecondsBetween, SupplierName, Text};
use When::{Becomes, Changed, Deleted, FallsBelow, Inserted};

const fn required(name: &'static str) -> Field {
    Field { name, required: true }
}

const fn optional(name: &'static str) -> Field {
    Field { name, required: false }
}

/// The kinds of table that the specification's events come from. Another kind is another entry: what follows from it, from
/// the names of events to the SQL functions, is made of this list.
pub static KINDS: &[Kind] = &[
    Kind {
        name: "products",
        fields: &[
            required("id"),
            required("sku"),
            required("name"),
            required("price"),
            required("stock"),
            required("min_stock"),
            required("supplier_id"),
            optional("created_by"),
            optional("updated_by"),
            optional("updated_at"),
            optional("deleted_by"),
        ],
        identity: &["id", "sku"],
        events: &[
            EventRule {
                name: "product.created",
                when: Inserted,
                data: &[
                    ("product_id", Column("id")),
                    ("sku", Column("sku")),
                    ("name", Column("name")),
                    ("price", Column("price")),
                    ("supplier_id", Column("supplier_id")),
                    ("created_by", Actor("created_by")),
                ],
            },
            EventRule {
                name: "product.updated",
                when: Changed,
                data: &[
                    ("product_id", Column("id")),
                    ("sku", Column("sku")),
                    ("changes", Changes),
                    ("updated_by", Actor("updated_by")),
                ],
            },
            EventRule {
                name: "product.deleted",
                when: Deleted,
                data: &[
                    ("product_id", Column("id")),
                    ("sku", Column("sku")),
                    ("deleted_by", Actor("deleted_by")),
                    ("reason", Reason),
                ],
            },
            EventRule {
                name: "stock.low_alert",
                when: FallsBelow("stock", "min_stock"),
                data: &[
                    ("product_id", Column("id")),
                    ("sku", Column("sku")),
                    ("name", Column("name")),
                    ("current_stock", Column("stock")),
                    ("threshold", Column("min_stock")),
                    ("supplier_id", Column("supplier_id")),
                ],
            },
        ],
    },
    Kind {
        name: "suppliers",
        fields: &[
            required("id"),
            required("name"),
            required("import_type"),
            optional("import_schedule"),
            optional("created_by"),
            optional("updated_by"),
            optional("updated_at"),
        ],
        identity: &["id"],
        events: &[
            EventRule {
                name: "supplier.created",
                when: Inserted,
                data: &[
                    ("supplier_id", Column("id")),
                    ("name", Column("name")),
                    ("import_type", Column("import_type")),
                    ("created_by", Actor("created_by")),
                ],
            },
            EventRule {
                name: "supplier.updated",
                when: Changed,
                data: &[("supplier_id", Column("id")), ("changes", Changes), ("updated_by", Actor("updated_by"))],
            },
        ],
    },
    Kind {
        name: "imports",
        fields: &[
            required("id"),
            required("supplier_id"),
            required("import_type"),
            required("status"),
            required("total_products"),
            required("created"),
            required("updated"),
            required("errors"),
            required("error_code"),
            required("error_message"),
            required("error_details"),
            required("started_at"),
            required("finished_at"),
            optional("started_by"),
            optional("supplier_name"),
        ],
        identity: &["id", "supplier_id"],
        events: &[
            EventRule {
                name: "import.started",
                when: Becomes("status", "running"),
                data: &[
                    ("job_id", Column("id")),
                    ("supplier_id", Column("supplier_id")),
                    ("supplier_name", SupplierName("supplier_name", "supplier_id")),
                    ("import_type", Column("import_type")),
                    ("total_products", Column("total_products")),
                    ("started_by", Actor("started_by")),
                ],
            },
            EventRule {
                name: "import.completed",
                when: Becomes("status", "completed"),
                data: &[
                    ("job_id", Column("id")),
                    ("supplier_id", Column("supplier_id")),
                    ("supplier_name", SupplierName("supplier_name", "supplier_id")),
                    ("duration_seconds", SecondsBetween("started_at", "finished_at")),
                    (
                        "stats",
                        Object(&[
                            ("total_products", Column("total_products")),
                            ("created", Column("created")),
                            ("updated", Column("updated")),
                            ("errors", Column("errors")),
                        ]),
                    ),
                    ("status", Text("completed")),
                ],
            },
            EventRule {
                name: "import.failed",
                when: Becomes("status", "failed"),
                data: &[
                    ("job_id", Column("id")),
                    ("supplier_id", Column("supplier_id")),
                    ("supplier_name", SupplierName("supplier_name", "supplier_id")),
                    (
                        "error",
                        Object(&[
                            ("code", Column("error_code")),
                            ("message", Column("error_message")),
                            ("details", Column("error_details")),
                        ]),
                    ),
                    ("duration_seconds", SecondsBetween("started_at", "finished_at")),
                ],
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_used<'a>(data: &'a [(&'static str, Source)], used: &mut Vec<&'a str>) {
        for (_, source) in data {
            match source {
                Column(field) | Actor(field) => used.push(field),
                SecondsBetween(a, b) | SupplierName(a, b) => used.extend([*a, *b]),
                Object(members) => fields_used(members, used),
                Changes | Reason | Text(_) => {}
            }
        }
    }

    #[test]
    fn the_rules_make_the_specifications_events() {
        let made: Vec<_> = KINDS.iter().flat_map(|kind| kind.events).map(|event| event.name).collect();
        let specified = [
            "product.created",
            "product.updated",
            "product.deleted",
            "stock.low_alert",
            "supplier.created",
            "supplier.updated",
            "import.started",
            "import.completed",
            "import.failed",
        ];
        for event in specified {
            assert!(made.contains(&event), "{event}");
        }
    }

    #[test]
    fn every_event_tells_which_row_it_is_of() {
        for kind in KINDS {
            for event in kind.events {
                let keys: Vec<_> = kind.identity_of(event).map(|(key, _)| *key).collect();
                assert_eq!(keys.first(), event.data.first().map(|(key, _)| key), "{}", event.name);
                assert!(keys.len() <= kind.identity.len(), "{}", event.name);
            }
        }
    }

    #[test]
    fn every_field_that_a_rule_reads_is_a_field_of_its_kind() {
        for kind in KINDS {
            for event in kind.events {
                let mut used = Vec::new();
                fields_used(event.data, &mut used);
                match event.when {
                    FallsBelow(a, b) => used.extend([a, b]),
                    Becomes(field, _) => used.push(field),
                    Inserted | Changed | Deleted => {}
                }
                for field in used {
                    assert!(kind.fields.iter().any(|known| known.name == field), "{} reads {field}", event.name);
                }
            }
        }
    }
}
