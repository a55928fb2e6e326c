//! Keys that tokens are verified with. A key has one algorithm, whatever a token says that it was signed with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use super::json;

/// How many keys one issuer may have.
const KEYS_MAX: usize = 64;

/// One key of one issuer.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// What tokens call it; a key from a file or a secret may have no name and then answers to any.
    pub(super) kid: Option<String>,
    /// The only one that it verifies.
    pub(super) algorithm: Algorithm,
    /// What it is made of.
    pub(super) material: DecodingKey,
}

/// The keys of one issuer at one time. It is replaced as a whole, so what its issuer has taken out is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None is called so; a set that is fetched may have it soon.
    Unknown,
    /// The key of that name is for another algorithm.
    Algorithm,
    /// It names none, and there are several.
    Unnamed,
}

impl KeySet {
    /// The key for a token that says it was signed with `algorithm` by the key `kid`.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, NoKey> {
        let named = |key: &&Key| match (kid, &key.kid) {
            (Some(kid), Some(known)) => kid == known,
            (Some(_), None) | (None, _) => true,
        };
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(NoKey::Unnamed),
            (None, _) if self.keys.iter().any(|key| named(&key)) => Err(NoKey::Algorithm),
            (None, _) => Err(NoKey::Unknown),
        }
    }

    /// The key from a secret that both sides know, once for each algorithm.
    ///
    /// # Errors
    /// In words, for the operator.
    pub(super) fn from_secret(secret: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, String> {
        let mut keys = Vec::new();
        for algorithm in algorithms {
            let bytes_min = match algorithm {
                Algorithm::HS256 => 32,
                Algorithm::HS384 => 48,
                Algorithm::HS512 => 64,
                _ => return Err(format!("{algorithm:?} takes no secret")),
            };
            if secret.len() < bytes_min {
                return Err(format!("a secret for {algorithm:?} has at least {bytes_min} bytes, not {}", secret.len()));
            }
            keys.push(Key { kid: None, algorithm: *algorithm, material: DecodingKey::from_secret(secret) });
        }
        Ok(KeySet { keys })
    }

    /// Keys from a text that the operator has put there: public keys in PEM, a JWK, or a JWKS. Secrets may be among them.
    ///
    /// # Errors
    /// In words, for the operator.
    pub(super) fn from_text(text: &str, algorithms: &[Algorithm]) -> Result<KeySet, String> {
        if text.contains("-----BEGIN") {
            return from_pem(text.as_bytes(), algorithms);
        }
        let (set, passed_over) = KeySet::from_json(text.as_bytes(), algorithms, true)?;
        match passed_over.into_iter().next() {
            Some(why) => Err(why),
            None => Ok(set),
        }
    }

    /// Keys that an issuer published, and why others of the set are passed over. A secret that is published is none.
    ///
    /// # Errors
    /// In words, for the operator: it is no JWKS.
    pub(super) fn from_published(bytes: &[u8], algorithms: &[Algorithm]) -> Result<(KeySet, Vec<String>), String> {
        KeySet::from_json(bytes, algorithms, false)
    }

    fn from_json(bytes: &[u8], algorithms: &[Algorithm], may_be_secret: bool) -> Result<(KeySet, Vec<String>), String> {
        let mut object = json::object(bytes)?;
        let entries = match object.remove("keys") {
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err("`keys` is not an array".into()),
            None if object.contains_key("kty") => vec![object.into()],
            None => return Err("neither a JWK nor a JWKS: there is no `keys` and no `kty`".into()),
        };
        if entries.len() > KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        let (mut set, mut passed_over) = (KeySet::default(), Vec::new());
        for (at, entry) in entries.into_iter().enumerate() {
            let name =
                entry.get("kid").and_then(Value::as_str).map_or(format!("number {at}"), |kid| format!("{kid:?}"));
            match from_jwk(entry, algorithms, may_be_secret) {
                Ok(key) => set.keys.push(key),
                Err(why) => passed_over.push(format!("key {name}: {why}")),
            }
        }
        Ok((set, passed_over))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// For the operator: which keys there are.
    pub(super) fn told(&self) -> String {
        let told = |key: &Key| match &key.kid {
            Some(kid) => format!("{kid:?} ({:?})", key.algorithm),
            None => format!("{:?}", key.algorithm),
        };
        self.keys.iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

fn from_jwk(entry: Value, algorithms: &[Algorithm], may_be_secret: bool) -> Result<Key, String> {
    if entry.get("d").is_some() {
        return Err("is a private key: publish and configure the public one".into());
    }
    // Its new name (RFC 9864), which the library does not know.
    let named = match entry.get("alg").and_then(Value::as_str) {
        Some("Ed25519") => Some("EdDSA".to_owned()),
        named => named.map(str::to_owned),
    };
    let jwk: Jwk = serde_json::from_value(entry).map_err(|error| error.to_string())?;
    if matches!(&jwk.common.public_key_use, Some(other) if *other != PublicKeyUse::Signature) {
        return Err("is not for signatures".into());
    }
    if jwk.common.key_operations.as_ref().is_some_and(|known| !known.contains(&KeyOperations::Verify)) {
        return Err("is not for verifying".into());
    }
    let named = named.map(|name| name.parse::<Algorithm>().map_err(|_| format!("unknown algorithm {name:?}")));
    let named = named.transpose()?;
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let bits = BASE64URL.decode(&rsa.n).map_err(|_| "its modulus is not base64url")?;
            let bits = bits.iter().skip_while(|byte| **byte == 0).count() * 8;
            if !(2048..=8192).contains(&bits) {
                return Err(format!("has {bits} bits: RSA keys have 2048 to 8192"));
            }
            AlgorithmFamily::Rsa.algorithms()
        }
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return Err("its curve is not supported".into()),
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        AlgorithmParameters::OctetKey(_) if may_be_secret => AlgorithmFamily::Hmac.algorithms(),
        AlgorithmParameters::OctetKey(_) => return Err("is a secret, and published".into()),
        _ => return Err("its type is not supported".into()),
    };
    let algorithm = match named {
        Some(algorithm) if fitting.contains(&algorithm) => algorithm,
        Some(algorithm) => return Err(format!("its type does not fit {algorithm:?}")),
        None => *algorithms.iter().find(|one| fitting.contains(one)).ok_or("names no algorithm; configure one")?,
    };
    if !algorithms.contains(&algorithm) {
        return Err(format!("{algorithm:?} is not among the issuer's algorithms"));
    }
    let material = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    let kid = jwk.common.key_id;
    if algorithm.family() == AlgorithmFamily::Hmac {
        let secret = material.try_get_as_bytes().map_err(|error| error.to_string())?;
        KeySet::from_secret(secret, &[algorithm])?;
    }
    Ok(Key { kid, algorithm, material })
}

fn from_pem(text: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, String> {
    let mut set = KeySet::default();
    for info in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
        let info = info.map_err(|error| format!("PEM: {error}"))?;
        let (material, fitting) = from_spki(&info).ok_or("PEM: not a public key of RSA, P-256, P-384 or Ed25519")?;
        let mut fitting = algorithms.iter().filter(|one| fitting.contains(one)).peekable();
        if fitting.peek().is_none() {
            return Err("PEM: the key fits none of the issuer's algorithms".into());
        }
        set.keys.extend(fitting.map(|one| Key { kid: None, algorithm: *one, material: material.clone() }));
    }
    if set.is_empty() {
        return Err("PEM: there is no `PUBLIC KEY` in it".into());
    }
    Ok(set)
}

/// What stands before the key itself in a SubjectPublicKeyInfo (RFC 5480, RFC 8410), where it is always the same.
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// The algorithm of RSA keys (RFC 3279), whose lengths differ.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

fn from_spki(info: &[u8]) -> Option<(DecodingKey, &'static [Algorithm])> {
    let exactly = |prefix: &[u8], bytes: usize| info.strip_prefix(prefix).filter(|key| key.len() == bytes);
    if let Some(point) = exactly(P256, 65) {
        return Some((DecodingKey::from_ec_der(point), &[Algorithm::ES256]));
    }
    if let Some(point) = exactly(P384, 97) {
        return Some((DecodingKey::from_ec_der(point), &[Algorithm::ES384]));
    }
    if let Some(key) = exactly(ED25519, 32) {
        return Some((DecodingKey::from_ed_der(key), &[Algorithm::EdDSA]));
    }
    let (info, []) = der(info, 0x30)? else { return None };
    let (bits, []) = der(info.strip_prefix(RSA)?, 0x03)? else { return None };
    let key = bits.strip_prefix(&[0])?;
    let (numbers, []) = der(key, 0x30)? else { return None };
    let (modulus, _) = der(numbers, 0x02)?;
    let bits = modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
    (2048..=8192).contains(&bits).then(|| (DecodingKey::from_rsa_der(key), AlgorithmFamily::Rsa.algorithms()))
}

/// What a DER value of that tag holds, and what stands behind it.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        _ => return None,
    };
    rest.split_at_checked(length)
}
