//! The signatures of tokens, made and checked by ring: what `jsonwebtoken` is given in place of a library of its own.
//!
//! Its two own choices are out of the question: one brings the `rsa` crate, of which RUSTSEC-2023-0071 has no fix, the other a second C library.

use std::sync::OnceLock;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{self, ErrorKind};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Makes `jsonwebtoken` use ring in this process.
///
/// # Panics
/// If a program that ydash is a part of has given it something else before: nobody would know what checks signatures then.
pub(super) fn install() {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    let is_ours = *INSTALLED.get_or_init(|| PROVIDER.install_default().is_ok());
    assert!(is_ours, "another crypto provider of jsonwebtoken is installed in this process");
}

struct Keyed<K> {
    algorithm: Algorithm,
    key: K,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> errors::Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Keyed { algorithm: *algorithm, key: key.clone() }))
}

impl JwtVerifier for Keyed<DecodingKey> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Keyed<DecodingKey> {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let by = |algorithm: &'static dyn VerificationAlgorithm| match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) => UnparsedPublicKey::new(algorithm, key).verify(message, signature),
            DecodingKeyKind::RsaModulusExponent { .. } => Err(ring::error::Unspecified),
        };
        let by_rsa = |algorithm: &'static RsaParameters| match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) => UnparsedPublicKey::new(algorithm, key).verify(message, signature),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(algorithm, message, signature)
            }
        };
        let verified = match self.algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let secret = self.key.try_get_as_bytes().map_err(|_| Error::new())?;
                hmac::verify(&hmac::Key::new(hash(self.algorithm), secret), message, signature)
            }
            Algorithm::RS256 => by_rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => by_rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => by_rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => by_rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => by_rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => by_rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => by(&signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => by(&signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => by(&signature::ED25519),
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| Error::new())
    }
}

/// Tokens of ydash's own are signed with a secret; whoever has a key pair signs elsewhere.
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> errors::Result<Box<dyn JwtSigner>> {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 if key.family() == algorithm.family() => {
            Ok(Box::new(Keyed { algorithm: *algorithm, key: key.clone() }))
        }
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

impl JwtSigner for Keyed<EncodingKey> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer<Vec<u8>> for Keyed<EncodingKey> {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let key = hmac::Key::new(hash(self.algorithm), self.key.as_bytes());
        Ok(hmac::sign(&key, message).as_ref().to_vec())
    }
}

fn hash(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}
