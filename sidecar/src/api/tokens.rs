//! Whose token a request carries. The database decides (`webhooks.authenticate`, which compares in constant time); what
//! it says of a valid token is cached for three seconds, so a revocation takes effect within five. Tokens themselves
//! are neither kept nor logged: the key of the cache is their hash.

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use utoipa::ToSchema;

use super::error::ApiError;
use super::limits::RateLimits;
use super::sessions::SessionPool;
use crate::store::TokenState;

const TOKEN_CACHE_TTL: Duration = Duration::from_secs(3);
/// How long a token that was valid is looked up again without waiting for those of addresses that guess.
const KNOWN_TOKEN_TTL: Duration = Duration::from_secs(3600);
const MAX_CACHED_TOKENS: usize = 1024;

/// Who calls.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Caller {
    #[schema(example = "tk_0h2k5m7p9r")]
    pub id: String,
    #[schema(example = "dashboard")]
    pub name: String,
    pub role: Role,
}

/// What a token is for: `read` looks, `manage` changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Read,
    Manage,
}

/// The cache of valid tokens.
#[derive(Default)]
pub struct Tokens {
    known: Mutex<HashMap<Hash, (Instant, Arc<Caller>)>>,
    /// Held while the database is asked about a token from an address that guesses.
    checking_guess: tokio::sync::Mutex<()>,
}

type Hash = [u8; 32];

impl Tokens {
    /// Returns whose token it is, or a 401; or a 429 for an address that has sent too many invalid ones. A valid token counts
    /// wherever it comes from, but the tokens of such addresses are checked one after another: they take one session of the
    /// pool at most.
    pub async fn authenticate(
        &self,
        token: &str,
        from: IpAddr,
        sessions: &SessionPool,
        limits: &RateLimits,
    ) -> Result<Arc<Caller>, ApiError> {
        let hash: Hash = Sha256::digest(token).into();
        let mut checking = None;
        let mut refusal = None;
        match self.remembered(&hash) {
            Some((at, caller)) if at.elapsed() < TOKEN_CACHE_TTL => return Ok(caller),
            Some(_) => {}
            None => refusal = limits.check_address(from).err(),
        }
        if refusal.is_some() {
            checking = Some(self.checking_guess.lock().await);
        }
        // Tokens are ASCII; the database need not see anything else.
        let told = match token.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => sessions.store().await?.authenticate(token).await?,
            false => TokenState { id: None, name: None, role: None, state: "unknown".to_owned() },
        };
        drop(checking);
        match caller(told) {
            Ok(caller) => {
                let caller = Arc::new(caller);
                self.remember(hash, Arc::clone(&caller));
                Ok(caller)
            }
            Err(error) => {
                self.known.lock().expect("nobody panics under it").remove(&hash);
                limits.record_failure(from);
                Err(refusal.unwrap_or(error))
            }
        }
    }

    fn remembered(&self, hash: &Hash) -> Option<(Instant, Arc<Caller>)> {
        let known = self.known.lock().expect("nobody panics under it");
        known.get(hash).filter(|(at, _)| at.elapsed() < KNOWN_TOKEN_TTL).cloned()
    }

    fn remember(&self, hash: Hash, caller: Arc<Caller>) {
        let mut known = self.known.lock().expect("nobody panics under it");
        if known.len() >= MAX_CACHED_TOKENS {
            known.retain(|_, (at, _)| at.elapsed() < TOKEN_CACHE_TTL);
        }
        if known.len() < MAX_CACHED_TOKENS {
            known.insert(hash, (Instant::now(), caller));
        }
    }
}

fn caller(told: TokenState) -> Result<Caller, ApiError> {
    let role = match told.role.as_deref() {
        Some("manage") => Role::Manage,
        _ => Role::Read,
    };
    match (&*told.state, told.id, told.name) {
        ("valid", Some(id), Some(name)) => Ok(Caller { id, name, role }),
        (state @ ("expired" | "revoked"), ..) => Err(ApiError::unauthorized(format!("the token is {state}"))),
        _ => Err(ApiError::unauthorized("the token is unknown")),
    }
}
