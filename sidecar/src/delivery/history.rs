//! The order in which what is about one row happened. A transaction takes its id before it waits for the row, so its place in
//! the log does not tell. What tells is how many transactions had ended when its last event was captured: whoever had the
//! row before is among them. No clock decides anything. Pure.

use std::collections::HashMap;

use super::event::{Delivery, Event};
use super::values::Xid;

/// Sorts what one `fetch` returned, so that of two events about one row the earlier one comes first.
pub fn sort(deliveries: &mut [Delivery]) {
    let Some(reference) = deliveries.first().map(|delivery| delivery.event.ended) else { return };
    let mut last: HashMap<Xid, (i32, Xid, i32)> = HashMap::new();
    for Delivery { event, .. } in &*deliveries {
        let of = last.entry(event.xid).or_insert((event.seq, event.horizon, event.ended));
        *of = (*of).max((event.seq, event.horizon, event.ended));
    }
    let key = |event: &Event| {
        let (_, horizon, ended) = last[&event.xid];
        // The count is of 32 bits and begins anew with the server; the horizon tells such runs apart.
        (horizon.max(Xid(event.xid.0 + 1)), ended.wrapping_sub(reference), event.xid, event.seq)
    };
    deliveries.sort_by_cached_key(|delivery| key(&delivery.event));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::event::{Body, Source};
    use super::super::values::Timestamp;
    use super::*;

    fn delivery(xid: i64, seq: i32, horizon: i64, ended: i32) -> Delivery {
        let event = Event {
            xid: Xid(xid),
            seq,
            occurred_at: Timestamp(0),
            horizon: Xid(horizon),
            ended,
            webhook_id: String::new(),
            name: String::new(),
            body: Body::new(b"", &Arc::default()),
            damage: None,
        };
        Delivery {
            event: Arc::new(event),
            endpoint: 1,
            url: String::new(),
            retry_count: 0,
            signed_at: 0,
            signature: None,
            signature_v1: None,
            source: Source::Pending,
        }
    }

    /// The places of the events, as (xid, seq), once they are sorted.
    fn sorted(events: &[(i64, i32, i64, i32)]) -> Vec<(i64, i32)> {
        let mut deliveries: Vec<_> =
            events.iter().map(|&(xid, seq, horizon, ended)| delivery(xid, seq, horizon, ended)).collect();
        sort(&mut deliveries);
        deliveries.iter().map(|delivery| (delivery.event.xid.0, delivery.event.seq)).collect()
    }

    #[test]
    fn who_waited_for_a_row_comes_after_who_had_it_though_its_id_is_lower() {
        // 10 took its id first and waited until 11 had ended.
        assert_eq!(sorted(&[(10, 0, 12, 6), (11, 0, 10, 5)]), [(11, 0), (10, 0)]);
    }

    #[test]
    fn a_transaction_stays_together_and_counts_as_late_as_its_last_event() {
        assert_eq!(sorted(&[(10, 0, 10, 5), (10, 1, 12, 6), (11, 0, 11, 5)]), [(11, 0), (10, 0), (10, 1)]);
    }

    #[test]
    fn of_two_that_saw_the_same_highest_id_the_count_decides_across_its_overflow() {
        assert_eq!(sorted(&[(10, 0, 20, i32::MIN), (11, 0, 20, i32::MAX)]), [(11, 0), (10, 0)]);
    }
}
