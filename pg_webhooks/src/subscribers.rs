//! Who subscribes to what, read from `webhooks.endpoint`, with each secret made ready to sign.
//!
//! Disabled endpoints count: their events are in the log for a later replay.

use pgrx::prelude::*;
use webhooks_core::array::{Array, Signatures};
use webhooks_core::event_names;
use webhooks_core::signature::Signer;

/// All registered endpoints.
pub struct Subscribers(Vec<Subscriber>);

struct Subscriber {
    key: i32,
    patterns: Vec<String>,
    secret_version: i32,
    signer: Option<Signer>,
}

/// The endpoints that get one event, side by side as an event row holds them.
pub struct Recipients {
    is_empty: bool,
    /// Keys of `webhooks.endpoint`.
    pub endpoints: Array,
    /// For each, the version of the secret.
    pub secret_versions: Array,
    /// For each, the signature; NULL for those without a secret.
    pub signatures: Signatures,
}

impl Subscribers {
    /// Reads the endpoints; to be called as their owner.
    pub fn load() -> Self {
        Spi::connect(|client| {
            let rows = client
                .select("SELECT key, events, secret_version, secret FROM webhooks.endpoint ORDER BY key", None, &[])
                .unwrap_or_else(|error| error!("{error}"));
            Self(rows.map(|row| Subscriber::read(&row).unwrap_or_else(|error| error!("{error}"))).collect())
        })
    }

    /// The endpoints whose patterns take the event.
    pub fn of(&self, event: &str) -> Recipients {
        Recipients::gather(
            self.0
                .iter()
                .filter(|subscriber| subscriber.patterns.iter().any(|pattern| event_names::matches(pattern, event))),
        )
    }

    /// The one endpoint with this key.
    pub fn only(&self, key: i32) -> Recipients {
        Recipients::gather(self.0.iter().filter(|subscriber| subscriber.key == key))
    }
}

impl Subscriber {
    fn read(row: &spi::SpiHeapTupleData) -> spi::SpiResult<Self> {
        Ok(Self {
            key: row.get(1)?.unwrap_or_default(),
            patterns: row.get::<Vec<Option<String>>>(2)?.unwrap_or_default().into_iter().flatten().collect(),
            secret_version: row.get(3)?.unwrap_or_default(),
            signer: row.get::<String>(4)?.map(|secret| Signer::plain(&secret)),
        })
    }
}

impl Recipients {
    fn gather<'a>(subscribers: impl Iterator<Item = &'a Subscriber>) -> Self {
        let subscribers: Vec<&Subscriber> = subscribers.collect();
        let integers = |of: fn(&Subscriber) -> i32| {
            Array::of_integers(&subscribers.iter().map(|subscriber| of(subscriber)).collect::<Vec<_>>())
        };
        let signers: Vec<Option<Signer>> = subscribers.iter().map(|subscriber| subscriber.signer.clone()).collect();
        Self {
            is_empty: subscribers.is_empty(),
            endpoints: integers(|subscriber| subscriber.key),
            secret_versions: integers(|subscriber| subscriber.secret_version),
            signatures: Signatures::by(&signers),
        }
    }

    /// Whether nobody wants it.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }
}
