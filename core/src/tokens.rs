//! Tokens of the REST API: `pgw_`, the letters of the id that the token is known by, `_`, and 128 secret random bits.
//! The database keeps the id and a SHA-256 of the whole, which needs no salt: what it hashes is random already. Pure.

use sha2::{Digest, Sha256};

use crate::ids;
use crate::signature::is_same;

/// A fresh token.
pub struct Token {
    /// `tk_…`, not secret.
    pub id: String,
    /// The whole.
    pub text: String,
}

impl Token {
    /// From two random numbers.
    pub fn new(random_id: u128, random_secret: u128) -> Self {
        let text = format!("{}_{}", ids::prefixed("pgw_", random_id), ids::prefixed("", random_secret));
        Self { id: ids::prefixed("tk_", random_id), text }
    }
}

/// The id that a token carries; `None` for what has not a token's form.
pub fn id(token: &str) -> Option<String> {
    let (id, secret) = token.strip_prefix("pgw_")?.split_once('_')?;
    (ids::is_number(id) && ids::is_number(secret)).then(|| format!("tk_{id}"))
}

/// The hash of a token, which is what the database keeps.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether the hash is that of the token, in constant time.
pub fn matches(token: &str, kept_hash: &[u8]) -> bool {
    is_same(&hash(token), kept_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_id_and_matches_its_own_hash_alone() {
        let (token, other) = (Token::new(7, 8), Token::new(7, 9));
        assert_eq!(id(&token.text).as_deref(), Some(token.id.as_str()));
        assert!(matches(&token.text, &hash(&token.text)));
        assert!(!matches(&other.text, &hash(&token.text)) && !matches(&token.text, b""));
    }

    #[test]
    fn what_is_no_token_has_no_id() {
        let token = Token::new(7, 8).text;
        for text in ["", "pgw_", "pgw__", "tk_00000000000000000000000007", &token[..40], &token.replace('0', "Z")] {
            assert_eq!(id(text), None, "{text}");
        }
    }
}
