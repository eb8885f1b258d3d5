//! `[centrifugo]`: for those who come from Centrifugo.

use tidegate_identity::Secret;

use super::layers::Layers;

/// Shorter secrets are warned about: they could be guessed.
const SECRET_BYTES_GOOD: usize = 32;

/// What the Centrifugo client protocol takes beside what everybody is asked for.
#[derive(Debug, Clone)]
pub struct Centrifugo {
    /// What its clients' tokens are signed with, HS256; without it they are those of `[[identity.issuer]]`, and
    /// subscription tokens are refused.
    pub token_secret: Option<Secret>,
}

pub(super) fn read(layers: &Layers) -> Centrifugo {
    let secret = layers.text("centrifugo.token_secret");
    Centrifugo { token_secret: (!secret.is_empty()).then(|| Secret::new(secret)) }
}

impl Centrifugo {
    /// What is allowed and yet likely a mistake, in a sentence.
    pub(crate) fn warning(&self) -> Option<String> {
        let is_short = self.token_secret.as_ref()?.expose().len() < SECRET_BYTES_GOOD;
        let warning =
            format!("centrifugo.token_secret has fewer than {SECRET_BYTES_GOOD} bytes, so it could be guessed");
        is_short.then_some(warning)
    }
}
