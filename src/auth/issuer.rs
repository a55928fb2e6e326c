//! One issuer of tokens: what its tokens have to say, and which claims mean what.
//!
//! Claims are found by paths, arrays of names, since names hold dots and slashes (`https://acme.example/roles`). Presets know where the
//! usual providers put things; what is configured beside one wins.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use ydash_proto::access::{GRANTS_MAX, Pattern, Role, TokenGrant, User};
use ydash_proto::time::Timestamp;

use super::token::{LEEWAY, TokenError, shown};

/// A path to a claim.
type Path = Vec<String>;

/// The issuer of tokens that `ydash token` mints, and for whom they are.
pub const OWN: &str = "ydash";

/// The group of own tokens that makes their user an operator.
pub(super) const OPERATOR: &str = "operator";

/// How an issuer is configured; the keys of its table in the file that `auth-file` names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IssuerSettings {
    /// What `iss` says, exactly.
    pub issuer: String,
    /// Whose tokens they are: keycloak, auth0, entra, cognito, clerk or supabase.
    pub preset: Option<Preset>,
    /// What `aud` has to hold: one of these.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Where the audience stands, if not in `aud`.
    pub audience_claim: Option<Path>,
    /// Where the keys are: `discover`, a URL, or a file with a JWKS, a JWK or PEM.
    pub keys: Option<String>,
    /// A secret that both sides know, in place of keys.
    pub secret: Option<String>,
    /// What tokens may be signed with. For a key that does not say, the first that fits.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// What `typ` in the header has to be; by default `JWT`, `at+jwt` or nothing.
    #[serde(default)]
    pub token_types: Vec<String>,
    /// Claims that have to have exactly this value.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// Goes before ids of users, with a colon; all issuers but one need one.
    pub prefix: Option<String>,
    /// Where the user's id stands.
    pub user: Option<Path>,
    /// Where the name stands that people know.
    pub name: Option<Path>,
    /// Where the mail address stands; it counts only beside `email_verified`.
    pub email: Option<Path>,
    /// Where groups or roles stand.
    pub groups: Option<Path>,
    /// Where the workspaces stand that a token speaks for. If it is configured and a token says none, it speaks for none.
    pub workspace: Option<Path>,
    /// Where the token's own grants stand: an object of dashboards or `workspace/*`, and roles.
    pub grants_claim: Option<Path>,
    /// What everybody may do whose token is good, in the workspaces that it speaks for.
    pub role: Option<String>,
    /// The same by group.
    #[serde(default)]
    pub roles: BTreeMap<String, String>,
    /// Groups that operate this server.
    #[serde(default)]
    pub operators: Vec<String>,
    /// How far its clock may be from this machine's.
    pub leeway: Option<String>,
    /// How long a session goes on after the token was issued, if that is longer than the token.
    pub session_lifetime: Option<String>,
    /// The longest that a token may be good for.
    pub lifetime_max: Option<String>,
}

/// A provider whose tokens are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Keycloak 26.
    Keycloak,
    /// Auth0.
    Auth0,
    /// Microsoft Entra ID, tokens of version 2.
    Entra,
    /// Amazon Cognito user pools.
    Cognito,
    /// Clerk.
    Clerk,
    /// Supabase Auth.
    Supabase,
}

impl core::str::FromStr for Preset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Preset, &'static str> {
        Ok(match text {
            "keycloak" => Preset::Keycloak,
            "auth0" => Preset::Auth0,
            "entra" => Preset::Entra,
            "cognito" => Preset::Cognito,
            "clerk" => Preset::Clerk,
            "supabase" => Preset::Supabase,
            _ => return Err("expected keycloak, auth0, entra, cognito, clerk or supabase"),
        })
    }
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    /// Its metadata says where.
    Discover,
    /// From there.
    Url(String),
    /// A file of the operator's.
    File(String),
    /// A secret.
    Secret(String),
}

/// An issuer, ready to read its tokens.
#[derive(Clone, Debug)]
pub(super) struct Issuer {
    pub(super) issuer: Arc<str>,
    pub(super) keys: KeySource,
    pub(super) algorithms: Vec<Algorithm>,
    audience: Vec<String>,
    audience_claim: Path,
    token_types: Vec<String>,
    require: Vec<(String, String)>,
    prefix: Option<String>,
    user: Path,
    name: Path,
    email: Path,
    groups: Option<Path>,
    workspace: Option<Path>,
    grants: Option<Path>,
    role: Option<Role>,
    roles: Vec<(String, Role)>,
    operators: Vec<String>,
    leeway: Duration,
    session_lifetime: Duration,
    lifetime_max: Option<Duration>,
}

/// What a good token says.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) user: User,
    /// When the token itself ends; a session may go on longer.
    pub(super) expires: Timestamp,
}

fn path(names: &[&str]) -> Path {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Issuer {
    /// # Errors
    /// In words, for the operator.
    pub(super) fn new(
        settings: &IssuerSettings,
        duration: impl Fn(&str) -> Result<Duration, String>,
    ) -> Result<Issuer, String> {
        let told = settings.clone();
        if told.issuer.is_empty() {
            return Err("an issuer has no `issuer`: what its tokens say in `iss`".into());
        }
        let with = |what: String| format!("issuer {}: {what}", settings.issuer);
        let preset = |here: Preset| settings.preset == Some(here);
        let is_own = told.issuer == OWN && told.secret.is_some();

        let keys = match (told.keys.as_deref(), told.secret) {
            (Some(_), Some(_)) => return Err(with("has both `keys` and a `secret`; which is it?".into())),
            (None, Some(secret)) => KeySource::Secret(secret),
            (None, None) if preset(Preset::Supabase) => {
                KeySource::Url(format!("{}/.well-known/jwks.json", told.issuer.trim_end_matches('/')))
            }
            (None | Some("discover"), None) => KeySource::Discover,
            (Some(url), None) if url.contains("://") => KeySource::Url(url.to_owned()),
            (Some(file), None) => KeySource::File(file.to_owned()),
        };
        let algorithms = match told.algorithms.as_slice() {
            [] => match &keys {
                KeySource::Secret(_) => vec![Algorithm::HS256],
                // Files may hold secrets as well, and say so in their JWK.
                KeySource::File(_) => [PUBLIC, SECRET].concat(),
                KeySource::Discover | KeySource::Url(_) => PUBLIC.to_vec(),
            },
            named => named
                .iter()
                .map(|name| name.parse().map_err(|_| with(format!("there is no algorithm {name:?}"))))
                .collect::<Result<_, _>>()?,
        };

        let audience = match told.audience {
            audience if !audience.is_empty() => audience,
            _ if is_own => vec![OWN.to_owned()],
            _ if preset(Preset::Supabase) => vec!["authenticated".to_owned()],
            _ => {
                return Err(with(
                    "`audience` is missing: without it, tokens for any application of that issuer would do".into(),
                ));
            }
        };
        let audience_claim = told.audience_claim.unwrap_or_else(|| match settings.preset {
            Some(Preset::Cognito) => path(&["client_id"]),
            Some(Preset::Clerk) => path(&["azp"]),
            _ => path(&["aud"]),
        });
        let mut require: Vec<(String, String)> = told.require.into_iter().collect();
        if preset(Preset::Cognito) && !require.iter().any(|(name, _)| name == "token_use") {
            require.push(("token_use".into(), "access".into()));
        }
        let user = told.user.unwrap_or_else(|| path(if preset(Preset::Entra) { &["oid"] } else { &["sub"] }));
        let groups = told.groups.or_else(|| match settings.preset {
            Some(Preset::Keycloak) => Some(path(&["realm_access", "roles"])),
            Some(Preset::Auth0) => Some(path(&["permissions"])),
            Some(Preset::Entra) => Some(path(&["roles"])),
            Some(Preset::Cognito) => Some(path(&["cognito:groups"])),
            Some(Preset::Supabase) => Some(path(&["app_metadata", "roles"])),
            Some(Preset::Clerk) => None,
            None => is_own.then(|| path(&["groups"])),
        });
        let workspace = told.workspace.or_else(|| match settings.preset {
            Some(Preset::Entra) => Some(path(&["tid"])),
            Some(Preset::Clerk) => Some(path(&["o", "slg"])),
            _ => None,
        });
        let grants = told.grants_claim.or_else(|| is_own.then(|| path(&["grants"])));
        let (name, email) =
            (told.name.unwrap_or_else(|| path(&["name"])), told.email.unwrap_or_else(|| path(&["email"])));
        let paths = [Some(&user), Some(&name), Some(&email), groups.as_ref(), workspace.as_ref(), grants.as_ref()];
        for path in paths.into_iter().flatten() {
            if path.is_empty() {
                return Err(with("a path to a claim is empty".into()));
            }
            if path[0] == "user_metadata" {
                return Err(with("users of Supabase write `user_metadata` themselves: use `app_metadata`".into()));
            }
        }

        let role = |name: &str| name.parse::<Role>().map_err(|error| with(error.to_string()));
        let lifetime = |text: &str| duration(text).map_err(&with);
        let session_lifetime = match (&told.session_lifetime, settings.preset) {
            (Some(text), _) => lifetime(text)?,
            (None, Some(Preset::Clerk)) => Duration::from_secs(12 * 3600),
            (None, _) => Duration::ZERO,
        };
        if told.prefix.as_deref().is_some_and(|prefix| prefix.is_empty() || prefix.contains([':', '/'])) {
            return Err(with("a `prefix` is a short name without colon and slash".into()));
        }
        Ok(Issuer {
            issuer: told.issuer.as_str().into(),
            keys,
            algorithms,
            audience,
            audience_claim,
            token_types: told.token_types,
            require,
            prefix: told.prefix,
            user,
            name,
            email,
            groups,
            workspace,
            grants,
            role: told.role.as_deref().map(role).transpose()?,
            roles: told
                .roles
                .iter()
                .map(|(group, name)| Ok((group.clone(), role(name)?)))
                .collect::<Result<_, String>>()?,
            operators: if is_own { vec![OPERATOR.to_owned()] } else { told.operators },
            leeway: match told.leeway.as_deref() {
                Some(text) => lifetime(text)?.min(LEEWAY_MAX),
                // Its tokens are of this machine, or of one that is set up together with it.
                None if is_own => Duration::ZERO,
                None => LEEWAY,
            },
            session_lifetime,
            lifetime_max: told.lifetime_max.as_deref().map(lifetime).transpose()?,
        })
    }

    /// What goes before ids of its users.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Whether it is the operator's own secret, which may speak for users of all issuers.
    pub(super) fn is_own(&self) -> bool {
        *self.issuer == *OWN && matches!(self.keys, KeySource::Secret(_))
    }

    /// Whether `typ` in a header is one that it takes.
    pub(super) fn check_type(&self, kind: Option<&str>) -> Result<(), TokenError> {
        let bare = kind.map(|kind| kind.to_ascii_lowercase());
        let bare = bare.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
        let fits = match (self.token_types.as_slice(), bare) {
            ([], None | Some("jwt" | "at+jwt")) => true,
            ([], Some(_)) | (_, None) => false,
            (types, Some(kind)) => types.iter().any(|one| one.eq_ignore_ascii_case(kind)),
        };
        match fits {
            true => Ok(()),
            false => Err(TokenError::Header(format!("typ is {}", kind.map_or("missing".into(), shown)))),
        }
    }

    /// What signed claims say.
    pub(super) fn read(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Verified, TokenError> {
        let seconds = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(seconds) if (0.0..1e13).contains(&seconds) => Ok(Some(Timestamp((seconds * 1000.0) as u64))),
                _ => Err(TokenError::claim(&path(&[name]), "is not a time in seconds")),
            },
        };
        let missing = |name: &str| TokenError::claim(&path(&[name]), "is missing");
        let expires = seconds("exp")?.ok_or_else(|| missing("exp"))?;
        if now >= expires + self.leeway {
            return Err(TokenError::Expired { ago: now.since(expires) });
        }
        if seconds("nbf")?.is_some_and(|from| from > now + LEEWAY) {
            return Err(TokenError::claim(&path(&["nbf"]), "lies ahead; are the clocks right?"));
        }
        let issued = seconds("iat")?;
        if issued.is_some_and(|at| at > now + LEEWAY) {
            return Err(TokenError::claim(&path(&["iat"]), "lies ahead; are the clocks right?"));
        }
        if let Some(max) = self.lifetime_max {
            let issued = issued.ok_or_else(|| missing("iat"))?;
            if expires.since(issued) > max {
                return Err(TokenError::claim(&path(&["exp"]), "is further from iat than lifetime-max"));
            }
        }
        let subject = self.text(claims, &path(&["sub"]))?.ok_or_else(|| missing("sub"))?;
        let audience = match find(claims, &self.audience_claim) {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(TokenError::claim(&self.audience_claim, "is neither a string nor an array")),
            None => return Err(TokenError::claim(&self.audience_claim, "is missing")),
        };
        if !audience.iter().any(|one| self.audience.iter().any(|expected| expected == one)) {
            let found = audience.iter().take(8).map(|one| shown(one)).collect::<Vec<_>>().join(", ");
            let problem = format!("is {found}, expected {}", self.audience.join(" or "));
            return Err(TokenError::claim(&self.audience_claim, problem));
        }
        for (name, expected) in &self.require {
            if claims.get(name).and_then(Value::as_str) != Some(expected) {
                return Err(TokenError::claim(&path(&[name]), format!("is not {expected:?}")));
            }
        }

        let id = match self.user.as_slice() {
            [name] if name == "sub" => subject,
            _ => self.text(claims, &self.user)?.ok_or_else(|| TokenError::claim(&self.user, "is missing"))?,
        };
        let id = match &self.prefix {
            Some(prefix) => format!("{prefix}:{id}"),
            None => id,
        };
        let groups = self.list(claims, self.groups.as_ref())?.unwrap_or_default();
        let workspaces = match &self.workspace {
            Some(path) => Some(self.list(claims, Some(path))?.unwrap_or_default()),
            None => None,
        };
        let in_groups = |name: &String| groups.iter().any(|group| **group == **name);
        let role =
            self.roles.iter().filter(|(group, _)| in_groups(group)).map(|(_, role)| *role).chain(self.role).max();
        let is_operator = self.operators.iter().any(in_groups);
        let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
        let mut token_grants = self.grants(claims)?;
        token_grants.extend(role.map(|role| TokenGrant { dashboards: Pattern::All, role }));
        let session = issued.unwrap_or(now) + self.session_lifetime;
        let user = User {
            issuer: Arc::clone(&self.issuer),
            id: id.into(),
            name: self.text(claims, &self.name).ok().flatten().map(Into::into),
            verified_email: self.text(claims, &self.email).ok().flatten().filter(|_| is_verified).map(Into::into),
            token_grants,
            groups,
            workspaces,
            is_operator,
            valid_until: Some(session.max(expires + self.leeway)),
        };
        Ok(Verified { user, expires })
    }

    /// A text of one line that is not too long to be a name.
    fn text(&self, claims: &Map<String, Value>, path: &Path) -> Result<Option<String>, TokenError> {
        const BYTES_MAX: usize = 255;
        match find(claims, path) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(TokenError::claim(path, "is empty")),
            Some(Value::String(text)) if text.len() > BYTES_MAX || text.chars().any(char::is_control) => {
                Err(TokenError::claim(path, format!("is not one line of at most {BYTES_MAX} bytes")))
            }
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(TokenError::claim(path, "is not a string")),
        }
    }

    /// A string, several with spaces between, or an array of them.
    fn list(&self, claims: &Map<String, Value>, path: Option<&Path>) -> Result<Option<Vec<Arc<str>>>, TokenError> {
        let Some(path) = path else { return Ok(None) };
        let list: Vec<Arc<str>> = match find(claims, path) {
            None => return Ok(None),
            Some(Value::String(text)) => text.split_whitespace().map(Into::into).collect(),
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(Into::into).collect(),
            Some(_) => return Err(TokenError::claim(path, "is neither a string nor an array")),
        };
        if list.len() > GRANTS_MAX {
            return Err(TokenError::claim(path, format!("has more than {GRANTS_MAX} entries")));
        }
        Ok(Some(list))
    }

    /// What cannot be read gives nothing: an unknown role, or a name that no dashboard has.
    fn grants(&self, claims: &Map<String, Value>) -> Result<Vec<TokenGrant>, TokenError> {
        let Some(path) = &self.grants else { return Ok(Vec::new()) };
        let grants = match find(claims, path) {
            None => return Ok(Vec::new()),
            Some(Value::Object(grants)) => grants,
            Some(_) => return Err(TokenError::claim(path, "is not an object")),
        };
        if grants.len() > GRANTS_MAX {
            return Err(TokenError::claim(path, format!("has more than {GRANTS_MAX} entries")));
        }
        let read = |(pattern, role): (&String, &Value)| {
            let role = role.as_str()?.parse().ok()?;
            Some(TokenGrant { dashboards: Pattern::parse(pattern).ok()?, role })
        };
        Ok(grants.iter().filter_map(read).collect())
    }
}

/// The most that clocks may be apart, whatever is configured: a token is good for so much longer.
const LEEWAY_MAX: Duration = Duration::from_secs(300);

/// By public keys. RSA comes first for keys that do not say which: Entra's do not.
const PUBLIC: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
const SECRET: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

fn find<'a>(claims: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (last, above) = path.split_last()?;
    let object = above.iter().try_fold(claims, |object, name| object.get(name)?.as_object())?;
    object.get(last).filter(|value| !value.is_null())
}
