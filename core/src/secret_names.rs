//! Which names of columns look like those of secrets: what has one is not sent to anybody unless it is asked for by name.

/// Words that make a name a secret's, wherever they stand in it.
const WORDS: [&str; 18] = [
    "apikey",
    "credential",
    "credentials",
    "cvc",
    "cvv",
    "mdp",
    "otp",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "privatekey",
    "pwd",
    "secret",
    "secrets",
    "token",
    "tokens",
    "totp",
];
/// Pairs of words that do when they follow each other.
const PAIRS: [(&str, &str); 8] = [
    ("api", "key"),
    ("private", "key"),
    ("secret", "key"),
    ("access", "key"),
    ("signing", "key"),
    ("encryption", "key"),
    ("mot", "passe"),
    ("pass", "phrase"),
];
/// Parts of words that do, for names without a mark between their words.
const PARTS: [&str; 6] = ["password", "passwd", "passphrase", "apikey", "privatekey", "motdepasse"];

/// Whether a column of this name looks like it holds a secret.
///
/// The words of a name are what stands between other signs than letters, and what begins with a capital after a small letter.
pub fn looks_like_secret(name: &str) -> bool {
    let words: Vec<String> = words(name).into_iter().filter(|word| word != "de").collect();
    words.iter().any(|word| WORDS.contains(&word.as_str()) || PARTS.iter().any(|part| word.contains(part)))
        || words.windows(2).any(|pair| PAIRS.iter().any(|(first, second)| pair[0] == *first && pair[1] == *second))
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for letter in name.chars() {
        if !letter.is_alphabetic() || after_small && letter.is_uppercase() {
            words.push(String::new());
        }
        after_small = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphabetic()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_however_they_are_written() {
        for name in [
            "password",
            "ftp_password",
            "PasswordHash",
            "ftpPassword",
            "FTP_PASSWD",
            "passwd",
            "pwd",
            "secret",
            "clientSecret",
            "client-secret",
            "token",
            "access_token",
            "refreshToken2",
            "api_key",
            "apiKey",
            "apikey",
            "X-Api-Key",
            "private_key",
            "ssh private key",
            "encryption_key",
            "ftppassword",
            "mot_de_passe",
            "motDePasse",
            "mdp_ftp",
            "card_cvv",
            "credentials",
        ] {
            assert!(looks_like_secret(name), "{name}");
        }
    }

    #[test]
    fn names_of_other_things_are_not() {
        for name in [
            "id",
            "sku",
            "name",
            "price",
            "stock",
            "key",
            "primary_key",
            "secretary",
            "tokenizer",
            "import_type",
            "passenger",
            "api_version",
            "keyboard",
            "pass",
            "bypass",
            "author",
            "description",
            "public_key",
            "",
            "_",
            "été",
        ] {
            assert!(!looks_like_secret(name), "{name}");
        }
    }
}
