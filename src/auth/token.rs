//! One token (RFC 7519, 8725), from its text to claims that its issuer has signed.
//!
//! Nothing in a token says how it is to be checked. The issuer that it names is looked up first, then a key of that issuer, and the key says
//! the algorithm. URLs and keys inside a token are never looked at.

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

use super::json;
use super::keys::Key;

/// The longest token that is looked at; identity providers' tokens with hundreds of groups have half of it.
pub use ydash_proto::wire::hocuspocus::TOKEN_BYTES_MAX;

/// How far the clocks of issuers and of this machine may be apart.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// What is wrong with a token, for the operator. Whoever showed it learns no more than that it is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than any is.
    #[error("the token has {0} bytes; at most {TOKEN_BYTES_MAX} are looked at")]
    Long(usize),
    /// No JWT at all: an opaque token, for example.
    #[error(
        "not a JWT: three parts in base64url with dots between (an opaque token? ask its issuer for one with an audience)"
    )]
    Form,
    /// The header is not what it has to be.
    #[error("the token's header: {0}")]
    Header(String),
    /// The claims are not what they have to be.
    #[error("the token's claims: {0}")]
    Claims(String),
    /// A claim is missing, or of a wrong type.
    #[error("the token's claim {name}: {problem}")]
    Claim {
        /// The path to it.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Nobody is configured who issues such tokens.
    #[error("no issuer {0} is configured")]
    Issuer(String),
    /// The issuer has no such key.
    #[error("the issuer has no key for this token: {0}")]
    Key(String),
    /// The issuer's keys have not been fetched yet, or the key is so new that they are fetched again.
    #[error("the issuer's keys are being fetched")]
    Fetching,
    /// Somebody else signed it, or it was changed.
    #[error("the signature is not the issuer's")]
    Signature,
    /// It is over.
    #[error("the token ended {} s ago", .ago.as_secs())]
    Expired {
        /// Since when.
        ago: Duration,
    },
}

impl TokenError {
    pub(super) fn claim(path: &[String], problem: impl Into<String>) -> TokenError {
        TokenError::Claim { name: path.join("."), problem: problem.into() }
    }

    /// One word for each kind, to count and to tell by.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            TokenError::Long(_) => "size",
            TokenError::Form => "form",
            TokenError::Header(_) => "header",
            TokenError::Claims(_) => "claims",
            TokenError::Claim { .. } => "claim",
            TokenError::Issuer(_) => "issuer",
            TokenError::Key(_) => "key",
            TokenError::Fetching => "fetching",
            TokenError::Signature => "signature",
            TokenError::Expired { .. } => "expired",
        }
    }
}

/// A token as it came: what it says of itself is believed by nobody yet.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    /// What it says that it was signed with.
    pub(super) algorithm: Algorithm,
    /// The key that it names.
    pub(super) kid: Option<String>,
    /// What kind of token it says it is.
    pub(super) kind: Option<String>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Reads a token.
    pub(super) fn read(token: &'a str) -> Result<Unverified<'a>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Long(token.len()));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Form)?;
        let decoded = |part: &str| BASE64URL.decode(part).map_err(|_| TokenError::Form);
        let (header, claims) = (decoded(header)?, decoded(claims)?);
        let mut header = json::object(&header).map_err(TokenError::Header)?;
        let mut text = |name: &str| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenError::Header(format!("{name} is not a string"))),
        };
        let (named, kid, kind) = (text("alg")?, text("kid")?, text("typ")?);
        let named = named.ok_or_else(|| TokenError::Header("alg is missing".into()))?;
        // Extensions that have to be understood; none is, and `b64` would change what was signed (RFC 7797).
        for name in ["crit", "b64", "enc"] {
            if header.contains_key(name) {
                return Err(TokenError::Header(format!("{name} is not understood")));
            }
        }
        let algorithm = match named.as_str() {
            "Ed25519" => Algorithm::EdDSA,
            named => named.parse().map_err(|_| TokenError::Header(format!("alg {} is not taken", shown(named))))?,
        };
        let claims = json::object(&claims).map_err(TokenError::Claims)?;
        Ok(Unverified { algorithm, kid, kind, claims, signed, signature })
    }

    /// Who it says has issued it: it picks the keys, and is believed only if one of them fits.
    pub(super) fn issuer(&self) -> Result<&str, TokenError> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) => Err(TokenError::claim(&["iss".into()], "is not a string")),
            None => Err(TokenError::claim(&["iss".into()], "is missing")),
        }
    }

    /// The claims, if `key` has signed them.
    pub(super) fn verify(self, key: &Key) -> Result<Map<String, Value>, TokenError> {
        if key.algorithm != self.algorithm {
            return Err(TokenError::Key(format!("it verifies {:?}", key.algorithm)));
        }
        match crypto::verify(self.signature, self.signed.as_bytes(), &key.material, key.algorithm) {
            Ok(true) => Ok(self.claims),
            Ok(false) | Err(_) => Err(TokenError::Signature),
        }
    }
}

/// What a peer sent, fit for a log line.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{:?}…", &text[..at]),
        None => format!("{text:?}"),
    }
}
