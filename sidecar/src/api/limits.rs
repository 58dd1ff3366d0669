//! The limits on one caller: requests a second for each token, and failed authentications for each address.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::error::ApiError;

/// How many authentications of one address may fail at once; after that, one a second may.
const FAILURE_BURST: u32 = 10;
const MAX_SHUT_OUT_ADDRESSES: usize = 10_000;

/// Counts requests and failures; forgets those who stay away.
pub struct RateLimits {
    requests: DefaultKeyedRateLimiter<String>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    /// Addresses that are refused, and until when.
    shut_out: Mutex<HashMap<IpAddr, Instant>>,
}

impl RateLimits {
    /// Allows each token so many requests a second, and twice as many at once.
    pub fn new(requests_per_second: NonZeroU32) -> Self {
        let burst = requests_per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        let failures = NonZeroU32::new(FAILURE_BURST).expect("it is not zero");
        Self {
            requests: RateLimiter::dashmap(Quota::per_second(requests_per_second).allow_burst(burst)),
            failures: RateLimiter::dashmap(Quota::per_second(NonZeroU32::MIN).allow_burst(failures)),
            shut_out: Mutex::default(),
        }
    }

    /// Counts a request of a token, or refuses it.
    pub fn check_rate(&self, token_id: &str) -> Result<(), ApiError> {
        let counted = self.requests.check_key(&token_id.to_owned());
        counted.map_err(|refusal| too_many("too many requests with this token", refusal.earliest_possible()))
    }

    /// Refuses an address that has failed too often of late.
    pub fn check_address(&self, from: IpAddr) -> Result<(), ApiError> {
        let shut_out = self.shut_out.lock().expect("nobody panics under it");
        match shut_out.get(&network(from)) {
            Some(until) if *until > Instant::now() => {
                Err(too_many("too many invalid tokens from this address", *until))
            }
            _ => Ok(()),
        }
    }

    /// Counts a failed authentication.
    pub fn record_failure(&self, from: IpAddr) {
        let from = network(from);
        let Err(refusal) = self.failures.check_key(&from) else { return };
        let mut shut_out = self.shut_out.lock().expect("nobody panics under it");
        if shut_out.len() >= MAX_SHUT_OUT_ADDRESSES {
            shut_out.clear();
        }
        shut_out.insert(from, refusal.earliest_possible());
    }

    /// Forgets tokens and addresses that have not come for a while.
    pub fn evict_idle(&self) {
        self.requests.retain_recent();
        self.failures.retain_recent();
        let now = Instant::now();
        self.shut_out.lock().expect("nobody panics under it").retain(|_, until| *until > now);
    }
}

/// Returns the network that counts as one caller: whoever has one IPv6 address has 2⁶⁴ of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

fn too_many(message: &str, until: Instant) -> ApiError {
    let wait = until.saturating_duration_since(Instant::now());
    ApiError::too_many(message, Duration::from_secs(wait.as_secs() + 1))
}
