//! What cannot be tried once and be proven: many sessions at once, for `PG_WEBHOOKS_CHAOS_SECONDS` (20), in an order of
//! chance. `PG_WEBHOOKS_CHAOS_SEED` begins the chances of a run that failed anew.

mod administrators;
mod ddl;
mod writers;
