//! Compares a snapshot of the database with one that came as text. Pure.

/// The lowest 32 bits of the first transaction that a snapshot does not know, and how many of those before it ran.
pub fn bounds(snapshot: &str) -> (u32, u32) {
    let mut parts = snapshot.splitn(3, ':').skip(1);
    let xmax = parts.next().and_then(|xmax| xmax.parse::<u64>().ok()).unwrap_or_default();
    let running = parts.next().filter(|list| !list.is_empty()).map_or(0, |list| list.split(',').count());
    (xmax as u32, running as u32)
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn a_snapshot_is_known_by_its_end_and_by_how_many_run() {
        assert_eq!(bounds("731:731:"), (731, 0));
        assert_eq!(bounds("731:740:731,733"), (740, 2));
        assert_eq!(bounds("4294967296:4294967297:4294967296"), (1, 1), "Postgres' snapshots have 32 bits");
    }
}
