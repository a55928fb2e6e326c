//! Tokens of ydash's own, signed with the operator's secret: for `ydash token`, and in the same form for whoever signs them elsewhere.

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value, json};
use ydash_proto::access::{Pattern, Role};
use ydash_proto::time::Timestamp;

use super::issuer::{OPERATOR, OWN};
use super::{crypto, keys};

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct Minting<'a> {
    /// The user.
    pub user: &'a str,
    /// What people call the user.
    pub name: Option<&'a str>,
    /// Groups.
    pub groups: Vec<&'a str>,
    /// What it gives. Without, it says only who; records of access decide.
    pub grants: Vec<(&'a str, Role)>,
    /// Whether the user operates the server.
    pub is_operator: bool,
    /// From when on.
    pub now: Timestamp,
    /// For how long.
    pub lifetime: Duration,
}

/// Signs a token.
///
/// # Errors
/// In words, for the operator.
pub fn mint(secret: &str, minting: &Minting<'_>) -> Result<String, String> {
    crypto::install();
    keys::KeySet::from_secret(secret.as_bytes(), &[Algorithm::HS256])?;
    let now = minting.now.0 / 1000;
    let mut claims = json!({
        "iss": OWN,
        "aud": OWN,
        "sub": minting.user,
        "iat": now,
        "exp": now + minting.lifetime.as_secs(),
    });
    if let Some(name) = minting.name {
        claims["name"] = name.into();
    }
    let groups: Vec<&str> = minting.groups.iter().copied().chain(minting.is_operator.then_some(OPERATOR)).collect();
    if !groups.is_empty() {
        claims["groups"] = groups.into();
    }
    let mut grants = Map::new();
    for (dashboards, role) in &minting.grants {
        Pattern::parse(dashboards).map_err(|error| format!("{dashboards}: {error}"))?;
        grants.insert((*dashboards).to_owned(), Value::from(role.as_str()));
    }
    if !grants.is_empty() {
        claims["grants"] = grants.into();
    }
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|error| error.to_string())
}

/// A new key pair as two JWKs: the private one to sign tokens with, and the public one to verify them.
///
/// # Errors
/// The system gave no random bytes.
pub fn new_key() -> Result<(Value, Value), String> {
    let random = SystemRandom::new();
    let failed = |_| String::from("the system gives no random bytes");
    let mut seed = [0; 32];
    ring::rand::SecureRandom::fill(&random, &mut seed).map_err(failed)?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| error.to_string())?;
    let x = BASE64URL.encode(pair.public_key());
    // RFC 7638: the name of a key is a digest of it, so no two are called the same.
    let digest =
        ring::digest::digest(&ring::digest::SHA256, format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes());
    let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig",
        "kid": BASE64URL.encode(digest) });
    let mut private = public.clone();
    private["d"] = BASE64URL.encode(seed).into();
    Ok((private, public))
}

/// A new secret, 32 bytes in base64url.
///
/// # Errors
/// The system gave no random bytes.
pub fn new_secret() -> Result<String, String> {
    let mut secret = [0; 32];
    let filled = ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut secret);
    filled.map_err(|_| String::from("the system gives no random bytes"))?;
    Ok(BASE64URL.encode(secret))
}
