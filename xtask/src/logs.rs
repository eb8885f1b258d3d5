//! What the gateways of the tests logged, looked through for secrets.
//!
//! The testkit keeps all that every gateway of a test run writes to standard error in a directory, a file a gateway. None of it
//! may have a secret of the tests in it, as it stands, or anything that looks like a JWT: `eyJ` and at least three parts with
//! dots between. Other forms, and the log at its most talkative, are looked for by the tests of `identity::secrets`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::Outcome;
use crate::tools;

/// What the tests configure gateways with.
const SECRETS: [&str; 4] = [
    "a-key-for-the-tests",
    "a-secret-of-more-than-thirty-two-bytes",
    "what-the-application-shares-with-the-gateway",
    "the-password-of-redis",
];

/// An empty directory for them.
pub(crate) fn directory() -> Result<PathBuf, String> {
    let directory = tools::target().join("test-logs");
    let failed = |error| format!("{}: {error}", directory.display());
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(failed)?;
    }
    fs::create_dir_all(&directory).map_err(failed)?;
    Ok(directory)
}

/// Names each file with a secret in it, and not the secret.
pub(crate) fn tell_no_secret(directory: &Path) -> Outcome {
    let failed = |error| format!("{}: {error}", directory.display());
    let (mut files, mut telling) = (0, Vec::new());
    for file in fs::read_dir(directory).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        let log = fs::read(&path).map_err(failed)?;
        files += 1;
        let lines = String::from_utf8_lossy(&log);
        let found = lines.lines().enumerate().filter(|(_, line)| tells(line));
        telling.extend(found.map(|(at, _)| format!("{}:{}", path.display(), at + 1)));
    }
    println!("\n=== secrets in the logs of {files} gateways: {} ===", telling.len());
    match (files, telling.is_empty()) {
        (0, _) => Err("no gateway of the tests has logged anything, so nothing was looked through".into()),
        (_, true) => Ok(()),
        (_, false) => Err(format!("a secret or a token was logged:\n{}", telling.join("\n"))),
    }
}

fn tells(line: &str) -> bool {
    let is_of_a_token = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let mut words =
        line.split(|letter| !is_of_a_token(letter)).filter_map(|word| word.find("eyJ").map(|at| &word[at..]));
    words.any(|word| word.split('.').count() >= 3) || SECRETS.iter().any(|secret| line.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_secret_are_told_from_others() {
        let telling = ["key=a-key-for-the-tests", "\"bearer.eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.\"", "?t=eyJ.a.b&x"];
        telling.iter().for_each(|line| assert!(tells(line), "{line}"));
        let fine = ["a key for the tests", "eyJ", "127.0.0.1", "eyJhbGciOiJub25lIn0 . eyJ . x", "tidegate.key.J"];
        fine.iter().for_each(|line| assert!(!tells(line), "{line}"));
    }

    #[test]
    fn they_are_the_secrets_of_the_tests() {
        let sources = [
            include_str!("../../crates/tidegate-testkit/src/clients/http.rs"),
            include_str!("../../crates/tidegate/tests/identity/fixture.rs"),
            include_str!("../../crates/tidegate/tests/identity/hook.rs"),
            include_str!("../../crates/tidegate/tests/identity/secrets.rs"),
        ];
        for (secret, source) in SECRETS.iter().zip(sources) {
            assert!(source.contains(&format!("\"{secret}\"")), "{secret}");
        }
    }
}
