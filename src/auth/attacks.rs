//! Attacks on tokens, each by its name: what other implementations have fallen for. `tests/interop/` repeats them with tokens by `jose`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD as BASE64URL};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const ISSUER: &str = "https://id.acme.example/";
const OTHER: &str = "https://id.other.example/";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Two issuers with a key pair each, both called `k1`, one on another curve, and the operator's own secret.
struct World {
    tokens: Tokens,
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    _directory: TempDir,
}

impl World {
    fn new() -> World {
        World::with(|_| {})
    }

    fn with(change: impl Fn(&mut IssuerSettings)) -> World {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let directory = TempDir::new().unwrap();
        let file = |name: &str, jwk: Value| {
            let path = directory.path().join(name);
            std::fs::write(&path, json!({ "keys": [jwk] }).to_string()).unwrap();
            Some(path.to_str().unwrap().to_owned())
        };
        let point = ec.public_key().as_ref();
        let keys = [
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": BASE64URL.encode(ed.public_key()) }),
            json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256",
                "x": BASE64URL.encode(&point[1..33]), "y": BASE64URL.encode(&point[33..]) }),
        ];
        let [of_ed, of_ec] = keys;
        let mut settings = IssuerSettings {
            issuer: ISSUER.into(),
            audience: vec!["ydash".into()],
            keys: file("ed", of_ed),
            groups: Some(vec!["realm".into(), "roles".into()]),
            role: Some("editor".into()),
            ..IssuerSettings::default()
        };
        change(&mut settings);
        let other = IssuerSettings {
            issuer: OTHER.into(),
            audience: vec!["ydash".into()],
            keys: file("ec", of_ec),
            prefix: Some("other".into()),
            ..IssuerSettings::default()
        };
        let own = IssuerSettings { issuer: OWN.into(), secret: Some(SECRET.into()), ..IssuerSettings::default() };
        let tokens = Tokens::new(&[settings, other, own], None, crate::config::duration).unwrap();
        World { tokens, ed, ec, _directory: directory }
    }

    /// What comes of a token, after the time that the system's clock tells.
    fn verify(&self, token: &str) -> Result<String, &'static str> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let verified = runtime.block_on(self.tokens.verify(token));
        verified.map(|user| user.id.to_string()).map_err(|error| error.kind())
    }

    fn ed(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        format!("{signed}.{}", BASE64URL.encode(self.ed.sign(signed.as_bytes())))
    }

    fn ec(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = self.ec.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL.encode(signature))
    }
}

fn hs256(key: &[u8], header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("{signed}.{}", BASE64URL.encode(tag))
}

const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1","typ":"JWT"}"#;

/// Good claims, with these changes; a change to null takes a claim out.
fn claims(changes: Value) -> String {
    let seconds = now().0 / 1000;
    let mut claims = json!({ "iss": ISSUER, "aud": "ydash", "sub": "ada", "exp": seconds + 600, "iat": seconds });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims.to_string()
}

fn good() -> String {
    claims(json!({}))
}

#[test]
fn a_good_token_says_who_it_is() {
    let world = World::new();
    assert_eq!(world.verify(&world.ed(HEADER, &good())), Ok("ada".into()));
    assert_eq!(world.verify(&world.ed(r#"{"alg":"Ed25519","kid":"k1","typ":"at+jwt"}"#, &good())), Ok("ada".into()));
    let other = claims(json!({ "iss": OTHER }));
    assert_eq!(world.verify(&world.ec(r#"{"alg":"ES256","kid":"k1"}"#, &other)), Ok("other:ada".into()));
    let own = claims(json!({ "iss": OWN }));
    assert_eq!(world.verify(&hs256(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, &own)), Ok("ada".into()));
}

#[test]
fn alg_none_is_refused() {
    let world = World::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": alg, "kid": "k1" }).to_string();
        let signed = format!("{}.{}", BASE64URL.encode(&header), BASE64URL.encode(good()));
        assert_eq!(world.verify(&format!("{signed}.")), Err("header"), "{alg}");
        assert_eq!(world.verify(&world.ed(&header, &good())), Err("header"), "{alg}");
    }
    let unsigned = format!("{}.{}.", BASE64URL.encode(HEADER), BASE64URL.encode(good()));
    assert_eq!(world.verify(&unsigned), Err("signature"));
}

#[test]
fn hs256_with_a_public_key_as_the_secret_is_refused() {
    let world = World::new();
    let public = world.ed.public_key().as_ref();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": BASE64URL.encode(public) }).to_string();
    for key in [public, jwk.as_bytes(), world.ec.public_key().as_ref()] {
        for header in [r#"{"alg":"HS256","kid":"k1"}"#, r#"{"alg":"HS256"}"#] {
            assert_eq!(world.verify(&hs256(key, header, &good())), Err("key"));
        }
    }
}

#[test]
fn the_token_does_not_choose_the_algorithm() {
    let world = World::new();
    for alg in ["ES256", "RS256", "PS256", "ES384", "HS512"] {
        let header = json!({ "alg": alg, "kid": "k1" }).to_string();
        assert_eq!(world.verify(&world.ed(&header, &good())), Err("key"), "{alg}");
    }
}

#[test]
fn times_of_a_wrong_type_are_no_times() {
    let world = World::new();
    let later = now().0 / 1000 + 600;
    for exp in [json!(later.to_string()), json!([later]), json!({ "a": later }), json!(true), json!(-1), json!(1e300)] {
        assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": exp })))), Err("claim"), "exp {exp}");
        assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "nbf": exp })))), Err("claim"), "nbf {exp}");
        assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "iat": exp })))), Err("claim"), "iat {exp}");
    }
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": null })))), Err("claim"));
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": 1 })))), Err("expired"));
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "nbf": later })))), Err("claim"));
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "iat": later })))), Err("claim"));
    let fraction = later as f64 + 0.5;
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": fraction })))), Ok("ada".into()));
}

#[test]
fn clocks_may_be_half_a_minute_apart() {
    let world = World::new();
    let seconds = now().0 / 1000;
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": seconds - 20 })))), Ok("ada".into()));
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": seconds - 40 })))), Err("expired"));
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "nbf": seconds + 20 })))), Ok("ada".into()));
}

#[test]
fn a_missing_or_foreign_audience_is_refused() {
    let world = World::new();
    for aud in [Value::Null, json!("other"), json!(["a", "b"]), json!([]), json!(1), json!({ "ydash": true })] {
        assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "aud": aud })))), Err("claim"), "{aud}");
    }
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "aud": ["a", "ydash"] })))), Ok("ada".into()));
}

#[test]
fn a_missing_or_foreign_issuer_is_refused() {
    let world = World::new();
    for (iss, why) in [
        (Value::Null, "claim"),
        (json!(1), "claim"),
        (json!([ISSUER]), "claim"),
        (json!("https://id.acme.example"), "issuer"),
        (json!("https://evil.example/"), "issuer"),
        (json!(""), "issuer"),
    ] {
        assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "iss": iss })))), Err(why), "{iss}");
    }
}

#[test]
fn a_user_without_a_name_is_refused() {
    let world = World::new();
    for sub in [Value::Null, json!(""), json!(1), json!("a\nb"), json!("x".repeat(256))] {
        assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "sub": sub })))), Err("claim"), "{sub}");
    }
}

#[test]
fn one_issuers_key_does_not_sign_for_another() {
    let world = World::new();
    // Both keys are called k1.
    let other = claims(json!({ "iss": OTHER }));
    assert_eq!(world.verify(&world.ed(HEADER, &other)), Err("key"));
    assert_eq!(world.verify(&world.ec(r#"{"alg":"ES256","kid":"k1"}"#, &good())), Err("key"));
    assert_eq!(world.verify(&hs256(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, &good())), Err("key"));
    // Nor does a good token that is remembered open the other's door.
    assert!(world.verify(&world.ed(HEADER, &good())).is_ok());
    assert_eq!(world.verify(&world.ed(HEADER, &other)), Err("key"));
}

#[test]
fn one_issuers_users_are_not_anothers() {
    let world = World::new();
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "sub": "other:ada" })))), Err("claims"));
    let own = claims(json!({ "iss": OWN, "sub": "other:ada" }));
    let token = hs256(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, &own);
    assert_eq!(world.verify(&token), Ok("other:ada".into()), "the operator's secret speaks for all");
}

#[test]
fn an_unknown_key_is_never_replaced_by_the_last_one() {
    let world = World::new();
    for kid in ["k2", "", "k1 ", "../k1"] {
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        assert_eq!(world.verify(&world.ed(&header, &good())), Err("key"), "{kid:?}");
    }
    assert_eq!(world.verify(&world.ed(r#"{"alg":"EdDSA","kid":1}"#, &good())), Err("header"));
}

#[test]
fn extensions_that_have_to_be_understood_are_refused() {
    let world = World::new();
    for header in [
        json!({ "alg": "EdDSA", "kid": "k1", "crit": ["exp"] }),
        json!({ "alg": "EdDSA", "kid": "k1", "crit": [] }),
        json!({ "alg": "EdDSA", "kid": "k1", "b64": false, "crit": ["b64"] }),
        json!({ "alg": "EdDSA", "kid": "k1", "b64": true }),
        json!({ "alg": "EdDSA", "kid": "k1", "enc": "A128GCM" }),
    ] {
        assert_eq!(world.verify(&world.ed(&header.to_string(), &good())), Err("header"), "{header}");
    }
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let world = World::new();
    let header = r#"{"alg":"none","alg":"EdDSA","kid":"k1"}"#;
    assert_eq!(world.verify(&world.ed(header, &good())), Err("header"));
    let twice = good().replacen('{', r#"{"sub":"root","#, 1);
    assert_eq!(world.verify(&world.ed(HEADER, &twice)), Err("claims"));
    let deep = claims(json!({ "realm": {} })).replace(r#""realm":{}"#, r#""realm":{"roles":["a"],"roles":["b"]}"#);
    assert_eq!(world.verify(&world.ed(HEADER, &deep)), Err("claims"));
}

#[test]
fn keys_and_addresses_in_a_header_are_not_looked_at() {
    let world = World::new();
    let evil = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(evil.public_key()) });
    let header =
        json!({ "alg": "EdDSA", "kid": "k1", "jwk": jwk, "jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/" });
    let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(good()));
    let token = format!("{signed}.{}", BASE64URL.encode(evil.sign(signed.as_bytes())));
    assert_eq!(world.verify(&token), Err("signature"));
}

#[test]
fn only_types_of_access_tokens_are_taken() {
    let world = World::new();
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE"] {
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": typ }).to_string();
        assert_eq!(world.verify(&world.ed(&header, &good())), Err("header"), "{typ}");
    }
    let strict = World::with(|settings| settings.token_types = vec!["at+jwt".into()]);
    assert_eq!(strict.verify(&strict.ed(HEADER, &good())), Err("header"));
    let header = r#"{"alg":"EdDSA","kid":"k1","typ":"application/AT+JWT"}"#;
    assert_eq!(strict.verify(&strict.ed(header, &good())), Ok("ada".into()));
}

#[test]
fn a_token_that_was_changed_anywhere_is_refused() {
    let world = World::new();
    let token = world.ed(HEADER, &good());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(world.verify(core::str::from_utf8(&changed).unwrap()).is_err(), "at {at}");
    }
    for mangled in [
        format!("{token}="),
        format!("{token}."),
        format!(" {token}"),
        format!("{token}\n"),
        token.replacen('.', "..", 1),
        token.replace('.', ""),
        String::from("."),
        String::from(".."),
        String::from("opaque"),
    ] {
        assert!(world.verify(&mangled).is_err(), "{mangled}");
    }
    let parts: Vec<&str> = token.split('.').collect();
    for engine in [&URL_SAFE, &STANDARD] {
        let padded = engine.encode(good());
        if padded.ends_with('=') {
            let signed = format!("{}.{padded}", parts[0]);
            let token = format!("{signed}.{}", BASE64URL.encode(world.ed.sign(signed.as_bytes())));
            assert_eq!(world.verify(&token), Err("form"));
        }
    }
}

#[test]
fn a_token_of_a_megabyte_is_not_read() {
    let world = World::new();
    let long = world.ed(HEADER, &claims(json!({ "x": "x".repeat(1 << 20) })));
    assert_eq!(world.verify(&long), Err("size"));
    let deep = format!("{{\"a\":{}", "[".repeat(8 << 10));
    assert_eq!(world.verify(&world.ed(HEADER, &deep)), Err("claims"));
}

#[test]
fn more_groups_than_anybody_has_are_refused() {
    let world = World::new();
    let roles: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "realm": { "roles": roles } })))), Err("claim"));
}

#[test]
fn a_token_goes_on_no_longer_than_its_issuer_may_give() {
    let world = World::with(|settings| settings.lifetime_max = Some("5m".into()));
    assert_eq!(world.verify(&world.ed(HEADER, &good())), Err("claim"));
    let seconds = now().0 / 1000;
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": seconds + 200 })))), Ok("ada".into()));
    assert_eq!(world.verify(&world.ed(HEADER, &claims(json!({ "exp": seconds + 200, "iat": null })))), Err("claim"));
}

#[test]
fn what_would_be_unsafe_is_not_configured() {
    let refused = |change: &dyn Fn(&mut IssuerSettings)| {
        let mut settings = IssuerSettings {
            issuer: ISSUER.into(),
            audience: vec!["ydash".into()],
            secret: Some(SECRET.into()),
            ..IssuerSettings::default()
        };
        change(&mut settings);
        Tokens::new(&[settings], None, crate::config::duration).map(drop).unwrap_err()
    };
    assert!(refused(&|settings| settings.secret = Some("short".into())).contains("at least 32 bytes"));
    assert!(refused(&|settings| settings.audience.clear()).contains("audience"));
    assert!(refused(&|settings| settings.role = Some("admin".into())).contains("watcher"));
    assert!(
        refused(&|settings| settings.groups = Some(vec!["user_metadata".into(), "roles".into()]))
            .contains("app_metadata")
    );
    assert!(refused(&|settings| settings.keys = Some("http://id.example/keys".into())).contains("which"));
    assert!(
        refused(&|settings| {
            settings.secret = None;
            settings.keys = Some("http://id.example/keys".into());
        })
        .contains("https")
    );
    let settings = |issuer: &str| IssuerSettings {
        issuer: issuer.into(),
        audience: vec!["ydash".into()],
        secret: Some(SECRET.into()),
        ..IssuerSettings::default()
    };
    let several = Tokens::new(&[settings(ISSUER), settings(OTHER)], None, crate::config::duration);
    assert!(several.map(drop).unwrap_err().contains("prefix"));
}

/// RFC 7515, appendices A.1 to A.3: what others have signed is verified with their keys, and with no other.
#[test]
fn the_examples_of_the_standard_verify() {
    use super::keys::KeySet;
    use super::token::Unverified;
    crypto::install();
    let all = ["HS256", "RS256", "ES256"].map(|name| name.parse().unwrap());
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let hs = json!({ "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" });
    let rs = json!({ "kty": "RSA", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs\
              D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV\
              MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" });
    let es = json!({ "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let examples = [
        (hs, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (
            rs,
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4\
             BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
             hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            es,
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ];
    for (at, (_, header, signature)) in examples.iter().enumerate() {
        let token = format!("{header}.{claims}.{signature}");
        for (other, (key, _, _)) in examples.iter().enumerate() {
            let keys = KeySet::from_text(&key.to_string(), &all).unwrap();
            let unverified = Unverified::read(&token).unwrap();
            let verified = match keys.find(None, unverified.algorithm) {
                Ok(key) => unverified.verify(key).is_ok(),
                Err(_) => false,
            };
            assert_eq!(verified, at == other, "token {at} with key {other}");
        }
    }
}

#[test]
fn minted_tokens_are_taken() {
    let world = World::new();
    let minting = Minting {
        user: "ada",
        name: Some("Ada Lovelace"),
        groups: vec!["sales"],
        grants: vec![("acme/*", ydash_proto::access::Role::Editor)],
        is_operator: true,
        now: now(),
        lifetime: Duration::from_secs(60),
    };
    let token = mint(SECRET, &minting).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let user = runtime.block_on(world.tokens.verify(&token)).unwrap();
    assert_eq!((&*user.id, user.name.as_deref(), user.is_operator), ("ada", Some("Ada Lovelace"), true));
    let sales = DashboardId::parse("acme/sales").unwrap();
    assert_eq!(user.token_role(&sales), Some(ydash_proto::access::Role::Editor));
    assert!(mint("short", &minting).is_err());
    let (private, public) = new_key().unwrap();
    assert!(private.get("d").is_some() && public.get("d").is_none());
    let refused = super::keys::KeySet::from_text(&private.to_string(), &["EdDSA".parse().unwrap()]).unwrap_err();
    assert!(refused.contains("private"), "{refused}");
    assert!(super::keys::KeySet::from_text(&public.to_string(), &["EdDSA".parse().unwrap()]).is_ok());
}

/// A provider's tokens, as its documentation shows them, with nothing configured but the preset.
#[test]
fn presets_read_their_providers_tokens() {
    let seconds = now().0 / 1000;
    let common = json!({ "iat": seconds, "exp": seconds + 300 });
    let with = |mut claims: Value| {
        claims.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        claims
    };
    let cases = [
        (
            Preset::Keycloak,
            "https://sso.acme.example/realms/acme",
            "ydash",
            with(json!({
                "iss": "https://sso.acme.example/realms/acme", "aud": ["ydash", "account"], "azp": "board",
                "sub": "f3b0c7d2-8f1c-4a52-9a9b-6d3f0a0b7d11", "typ": "Bearer", "scope": "openid profile email", "sid": "x",
                "realm_access": { "roles": ["default-roles-acme", "editors"] },
                "resource_access": { "account": { "roles": ["view-profile"] } },
                "name": "Ada Lovelace", "preferred_username": "ada", "email": "ada@acme.example", "email_verified": true,
            })),
            ("f3b0c7d2-8f1c-4a52-9a9b-6d3f0a0b7d11", Some("Ada Lovelace"), Some("ada@acme.example")),
            vec!["default-roles-acme", "editors"],
            None,
        ),
        (
            Preset::Auth0,
            "https://acme.eu.auth0.com/",
            "https://ydash.acme.example",
            with(json!({
                "iss": "https://acme.eu.auth0.com/", "sub": "auth0|65a0b1",
                "aud": ["https://ydash.acme.example", "https://acme.eu.auth0.com/userinfo"], "azp": "spa", "scope": "openid",
                "permissions": ["editors", "read:boards"],
            })),
            ("auth0|65a0b1", None, None),
            vec!["editors", "read:boards"],
            None,
        ),
        (
            Preset::Entra,
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
            "6731de76-14a6-49ae-97bc-6eba6914391e",
            with(json!({
                "iss": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
                "aud": "6731de76-14a6-49ae-97bc-6eba6914391e", "tid": "9188040d-6c67-4c5b-b112-36a304b66dad",
                "oid": "00000000-0000-0000-66f3-3332eca7ea81", "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
                "name": "Ada Lovelace", "preferred_username": "ada@acme.example", "roles": ["editors"], "ver": "2.0", "uti": "x",
            })),
            ("00000000-0000-0000-66f3-3332eca7ea81", Some("Ada Lovelace"), None),
            vec!["editors"],
            Some("9188040d-6c67-4c5b-b112-36a304b66dad"),
        ),
        (
            Preset::Cognito,
            "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_example",
            "7lqv0example",
            with(json!({
                "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_example", "client_id": "7lqv0example",
                "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "token_use": "access", "cognito:groups": ["editors"],
                "scope": "openid", "username": "ada", "version": 2,
            })),
            ("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", None, None),
            vec!["editors"],
            None,
        ),
        (
            Preset::Clerk,
            "https://clerk.acme.example",
            "https://acme.example",
            with(json!({
                "iss": "https://clerk.acme.example", "azp": "https://acme.example", "sub": "user_2abc", "sid": "sess_2abc",
                "o": { "id": "org_2abc", "rol": "admin", "slg": "acme" }, "v": 2, "fva": [1, -1],
            })),
            ("user_2abc", None, None),
            vec![],
            Some("acme"),
        ),
        (
            Preset::Supabase,
            "https://abc.supabase.co/auth/v1",
            "",
            with(json!({
                "iss": "https://abc.supabase.co/auth/v1", "aud": "authenticated", "role": "authenticated", "is_anonymous": false,
                "sub": "123e4567-e89b-12d3-a456-426614174000", "email": "ada@acme.example", "session_id": "x", "aal": "aal1",
                "app_metadata": { "provider": "email", "roles": ["editors"] }, "user_metadata": { "roles": ["owners"] },
            })),
            ("123e4567-e89b-12d3-a456-426614174000", None, None),
            vec!["editors"],
            None,
        ),
    ];
    for (preset, issuer, audience, claims, (id, name, email), groups, workspace) in cases {
        let world = World::with(|settings| {
            settings.issuer = issuer.into();
            settings.preset = Some(preset);
            settings.audience = if audience.is_empty() { Vec::new() } else { vec![audience.into()] };
            (settings.groups, settings.role) = (None, None);
        });
        let token = world.ed(HEADER, &claims.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let user = runtime.block_on(world.tokens.verify(&token)).unwrap_or_else(|error| panic!("{preset:?}: {error}"));
        assert_eq!((&*user.id, user.name.as_deref(), user.verified_email.as_deref()), (id, name, email), "{preset:?}");
        assert_eq!(user.groups.iter().map(|group| &**group).collect::<Vec<_>>(), groups, "{preset:?}");
        let workspaces = user.workspaces.as_ref().map(|known| known.iter().map(|one| &**one).collect::<Vec<_>>());
        assert_eq!(workspaces, workspace.map(|one| vec![one]), "{preset:?}");
    }
}
