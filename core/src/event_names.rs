//! The names of events and the patterns that subscribe to them. Pure.
//!
//! The family of a built-in event has the built-in events and no others, so a misspelt one is refused at registration. Any
//! other dotted name is a custom event's, for `webhooks.emit`.

use crate::event_rules::KINDS;

/// What `webhooks.test` sends: the one built-in event that no row change makes.
pub const TEST_EVENT: &str = "webhook.test";

/// The names of the built-in events.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.events).map(|event| event.name).chain([TEST_EVENT])
}

/// The families of the built-in events, each once.
pub fn families() -> Vec<&'static str> {
    let mut families: Vec<_> = built_in().map(family_of).collect();
    families.sort_unstable();
    families.dedup();
    families
}

/// Why a name or pattern is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidEvent {
    /// Not of the form `family.name`, in lower case.
    Malformed(String),
    /// In a built-in family, or so near a built-in name that it must be a slip; with the nearest name.
    Unknown(String, &'static str),
    /// The specification's own, which row changes alone make.
    Reserved(String),
}

/// The patterns that take an event: its name, `a.b.*` and `a.*` for one called `a.b.c`, and `*`.
pub fn patterns_of(event: &str) -> Vec<String> {
    let families = event.rmatch_indices('.').map(|(dot, _)| format!("{}.*", &event[..dot]));
    [event.to_owned()].into_iter().chain(families).chain(["*".to_owned()]).collect()
}

/// Checks a pattern of a registration.
pub fn check_pattern(pattern: &str) -> Result<(), InvalidEvent> {
    if pattern == "*" || is_built_in(pattern) {
        return Ok(());
    }
    // The distance between two texts costs memory in proportion to the product of their lengths.
    if pattern.len() > 2 * MAX_NAME_BYTES {
        return Err(InvalidEvent::Malformed(pattern.to_owned()));
    }
    let name = pattern.strip_suffix(".*").unwrap_or(pattern);
    let is_family_pattern = name.len() < pattern.len();
    if !is_well_formed(name) || !(is_family_pattern || name.contains('.')) {
        // A single misspelt word helps more with the list of names than with the form.
        return Err(match nearest(pattern) {
            Some(known) => InvalidEvent::Unknown(pattern.to_owned(), known),
            None => InvalidEvent::Malformed(pattern.to_owned()),
        });
    }
    if is_family_pattern {
        return match families().into_iter().map(|family| (strsim::damerau_levenshtein(name, family), family)).min() {
            Some((0, _)) => Ok(()),
            Some((1, _)) => Err(InvalidEvent::Unknown(pattern.to_owned(), nearest_name(pattern).1)),
            _ => Ok(()),
        };
    }
    match nearest(pattern) {
        Some(known) => Err(InvalidEvent::Unknown(pattern.to_owned(), known)),
        None => Ok(()),
    }
}

/// Checks the name of an event that `emit` is to send.
pub fn check_custom(name: &str) -> Result<(), InvalidEvent> {
    if is_family(family_of(name)) {
        Err(InvalidEvent::Reserved(name.to_owned()))
    } else if !is_well_formed(name) || !name.contains('.') {
        Err(InvalidEvent::Malformed(name.to_owned()))
    } else {
        Ok(())
    }
}

fn is_built_in(name: &str) -> bool {
    built_in().any(|known| known == name)
}

/// Whether built-in events have this family.
fn is_family(name: &str) -> bool {
    built_in().any(|known| family_of(known) == name)
}

fn family_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

const MAX_NAME_BYTES: usize = 100;

/// Dotted words of lower-case letters, digits and underscores.
fn is_well_formed(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.split('.').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
}

/// The built-in name that this one must have been meant for, if any.
fn nearest(name: &str) -> Option<&'static str> {
    let (distance, known) = nearest_name(name);
    let written = family_of(name).to_lowercase();
    let in_built_in_family = is_family(&written) || written.strip_suffix('s').is_some_and(is_family);
    (in_built_in_family || distance <= 2).then_some(known)
}

/// The built-in name with the fewest changes to this one, and how many.
fn nearest_name(name: &str) -> (usize, &'static str) {
    let distances = built_in().map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), known), known));
    distances.min_by_key(|(distance, _)| *distance).expect("there are built-in names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_taken_by_its_name_its_families_and_all() {
        assert_eq!(patterns_of("product.updated"), ["product.updated", "product.*", "*"]);
        assert_eq!(
            patterns_of("billing.invoice.sent"),
            ["billing.invoice.sent", "billing.invoice.*", "billing.*", "*"]
        );
    }

    #[test]
    fn the_specifications_events_and_families_may_be_subscribed_to() {
        for pattern in built_in().chain(["*", "product.*", "import.*", "stock.*", "webhook.*"]) {
            assert_eq!(check_pattern(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn custom_events_may_be_subscribed_to() {
        for pattern in ["order.paid", "order.*", "store.*", "billing.invoice.sent"] {
            assert_eq!(check_pattern(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn a_slip_in_a_built_in_name_is_answered_with_the_nearest_one() {
        for (slip, meant) in [
            ("product.exploded", "product.updated"),
            ("products.updated", "product.updated"),
            ("prodct.updated", "product.updated"),
            ("Import.Completed", "import.completed"),
            ("imports.*", "import.started"),
            ("prodct.*", "product.created"),
        ] {
            assert_eq!(check_pattern(slip), Err(InvalidEvent::Unknown(slip.to_owned(), meant)));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for pattern in ["", " ", "order", "order.", ".paid", "order.*.x", "Order.Paid", "or der.paid", "**", "*.paid"] {
            assert!(check_pattern(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn a_name_of_any_length_is_answered_at_once() {
        for long in
            ["x".repeat(1 << 24), format!("product.{}", "x".repeat(1 << 24)), format!("{}.*", "x".repeat(1 << 24))]
        {
            assert_eq!(check_pattern(&long), Err(InvalidEvent::Malformed(long.clone())));
            assert!(check_custom(&long).is_err());
        }
    }

    #[test]
    fn a_custom_event_takes_no_built_in_name() {
        assert_eq!(check_custom("order.paid"), Ok(()));
        for name in ["product.created", "product.exploded", "webhook.test"] {
            assert_eq!(check_custom(name), Err(InvalidEvent::Reserved(name.to_owned())));
        }
        assert!(check_custom("order").is_err() && check_custom("order.*").is_err());
    }
}
