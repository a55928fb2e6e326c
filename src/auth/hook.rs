//! The authenticator that asks the operator's own service who may do what: one signed request per token and dashboard. It remembers an
//! answer for as long as the answer says.
//!
//! It asks only the configured address, follows no redirects, waits three seconds, and asks at most 64 questions at once. Only a clear yes
//! lets somebody in: a refusal is a refusal, and everything else is "try again". Sessions have their token asked about again when half of
//! their time is over; the other half is for a service that is away.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;
use reqwest::Url;
use ring::hmac;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;
use ydash_proto::access::{Access, Admission, GRANTS_MAX, Pattern, Principal, Role, TokenGrant, User, is_name};
use ydash_proto::id::DashboardId;
use ydash_proto::time::Timestamp;

use super::cache::{Cache, digest_of};
use super::fetch::{self, Fetch};
use super::tokens::now;
use super::{Authenticator, Caller, Denied, Eventual, TOKEN_BYTES_MAX, Tokens, Whence, json};

/// How long an answer may take, with the wait for a place.
const WITHIN: Duration = Duration::from_secs(3);
/// Questions that wait for an answer.
const AT_ONCE: usize = 64;
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// For how long an answer counts that does not say it, and at most.
const VALID_FOR: Duration = Duration::from_secs(60);
const VALID_FOR_MAX: Duration = Duration::from_secs(24 * 3600);
/// For how long a refusal is remembered: clients that do not understand it come back every two seconds.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Answers that are remembered in each half of the cache.
const CACHE_HALF: usize = 16 << 10;
/// Between two log lines about a service that does not answer.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// The shortest secret.
const SECRET_BYTES_MIN: usize = 32;

/// The service to ask.
#[derive(Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// Its address.
    pub url: String,
    /// The key by which questions are signed.
    pub secret: String,
}

/// Asks the operator's service. Cheap to clone.
#[derive(Clone)]
pub struct Hook(Arc<Shared>);

struct Shared {
    url: Url,
    key: hmac::Key,
    fetch: Fetch,
    /// Verifies tokens before the service is asked; without it, the service says whose a token is.
    tokens: Option<Tokens>,
    /// The access of callers without a token.
    anonymous: Option<Access>,
    answers: Mutex<Cache<HookAnswer>>,
    places: Semaphore,
    /// The time of the last log line about a service that does not answer.
    told: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct HookAnswer {
    verdict: Result<Arc<User>, Denied>,
    asked_at: Timestamp,
}

/// A token, and where somebody shows it.
struct Question {
    token: String,
    from: Option<Whence>,
    dashboard: Option<DashboardId>,
    /// The user of the token, if it is verified already.
    user: Option<Arc<User>>,
}

impl Hook {
    /// Reads what is configured.
    ///
    /// # Errors
    /// In words, for the operator.
    pub fn new(settings: &HookSettings, tokens: Option<Tokens>, anonymous: Option<Access>) -> Result<Hook, String> {
        let url = fetch::parse(&settings.url).map_err(|error| format!("authorize-url: {error}"))?;
        if settings.secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "authorize-secret has at least {SECRET_BYTES_MIN} bytes: the service at authorize-url knows by it who asks"
            ));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, settings.secret.as_bytes());
        Ok(Hook(Arc::new(Shared {
            fetch: Fetch::of(&url)?,
            url,
            key,
            tokens,
            anonymous,
            answers: Mutex::new(Cache::new(CACHE_HALF)),
            places: Semaphore::new(AT_ONCE),
            told: Mutex::default(),
        })))
    }

    /// The user of a token, with the role that the service gives.
    fn ask(&self, question: Question) -> Eventual<Arc<User>> {
        if question.token.len() > TOKEN_BYTES_MAX {
            return Eventual::Now(Err(Denied::Unauthenticated));
        }
        let key = key_of(&question);
        if let Some(answer) = self.0.answers().get(&key, now()) {
            return Eventual::Now(answer.verdict);
        }
        let shared = Arc::clone(&self.0);
        Eventual::Later(Box::pin(async move { shared.ask(key, question).await }))
    }
}

impl Authenticator for Hook {
    fn identify(&self, token: Option<&str>) -> Eventual<Principal> {
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Eventual::Now(Ok(Principal::Anonymous));
        };
        match &self.0.tokens {
            Some(tokens) => tokens.identify(Some(token)),
            None => {
                let question = Question { token: token.to_owned(), from: None, dashboard: None, user: None };
                self.ask(question).and_then(|user| Ok(Principal::User(user)))
            }
        }
    }

    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission> {
        let (given, dashboard) = (self.0.anonymous.unwrap_or(Access::NONE), caller.dashboard.clone());
        let admit = {
            let dashboard = dashboard.clone();
            move |principal| Ok(Admission::without_records(principal, given, &dashboard))
        };
        let Some(token) = caller.token.filter(|token| !token.is_empty()) else {
            return Eventual::Now(admit(Principal::Anonymous));
        };
        let (token, from) = (token.to_owned(), Some(caller.from.clone()));
        // A version of a dashboard is for those who may see that dashboard's history.
        let question = move |user| Question { token, from, dashboard: Some(dashboard.present()), user };
        let Some(tokens) = &self.0.tokens else {
            return self.ask(question(None)).and_then(move |user| admit(Principal::User(user)));
        };
        let hook = self.clone();
        let asked = move |principal: Principal| match principal {
            Principal::User(user) => hook.ask(question(Some(user))),
            // Nobody in particular, or a link: neither is the service's to know.
            _ => Eventual::Now(Err(Denied::Unauthenticated)),
        };
        match tokens.identify(caller.token) {
            Eventual::Now(Ok(principal)) => asked(principal).and_then(move |user| admit(Principal::User(user))),
            Eventual::Now(Err(denied)) => Eventual::Now(Err(denied)),
            Eventual::Later(verified) => Eventual::Later(Box::pin(async move {
                let user = asked(verified.await?).wait().await?;
                admit(Principal::User(user))
            })),
        }
    }

    fn knows_operators(&self) -> bool {
        true
    }

    fn asks_again(&self) -> bool {
        true
    }

    fn refusal(&self, principal: &Principal) -> Denied {
        if *principal == Principal::Anonymous { Denied::Unauthenticated } else { Denied::Forbidden }
    }

    fn is_ready(&self) -> bool {
        self.0.tokens.as_ref().is_none_or(Tokens::is_ready)
    }

    fn keep_up(&self) -> BoxFuture<'static, ()> {
        match &self.0.tokens {
            Some(tokens) => tokens.keep_up(),
            None => Box::pin(core::future::pending()),
        }
    }
}

impl Shared {
    async fn ask(&self, key: [u8; 32], question: Question) -> Result<Arc<User>, Denied> {
        let asked_at = now();
        let answered = timeout(WITHIN, async {
            let _place = self.places.acquire().await.map_err(|_| "the server ends".to_owned())?;
            // Somebody else with the same token may have asked meanwhile.
            if let Some(answer) = self.answers().get(&key, now()) {
                return Ok((answer.verdict, None));
            }
            let body = question.body().to_string();
            let stamp = (asked_at.0 / 1000).to_string();
            let signed = hmac::sign(&self.key, format!("{stamp}.{body}").as_bytes());
            let signature: String = signed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let headers = [("ydash-timestamp", stamp), ("ydash-signature", format!("v1={signature}"))];
            let (status, bytes) = self.fetch.post(&self.url, &headers, body, ANSWER_BYTES_MAX).await?;
            match status {
                200 => {
                    let (user, valid_for) = read(&bytes, &question, asked_at)?;
                    Ok((Ok(Arc::new(user)), Some(valid_for)))
                }
                401 => Ok((Err(Denied::Unauthenticated), Some(REFUSED_FOR))),
                403 => Ok((Err(Denied::Forbidden), Some(REFUSED_FOR))),
                status => Err(format!("answered {status}")),
            }
        })
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {WITHIN:?}")));
        match answered {
            Ok((verdict, None)) => verdict,
            Ok((verdict, Some(fresh_for))) => self.remember(key, HookAnswer { verdict, asked_at }, fresh_for),
            Err(why) => {
                self.tell(&why);
                Err(Denied::TryAgain)
            }
        }
    }

    /// Remembers an answer, unless a question that was put later is answered already: then that answer counts.
    fn remember(&self, key: [u8; 32], answer: HookAnswer, fresh_for: Duration) -> Result<Arc<User>, Denied> {
        let mut answers = self.answers();
        match answers.get(&key, now()) {
            Some(newer) if newer.asked_at > answer.asked_at => newer.verdict,
            _ => {
                answers.put(key, answer.clone(), answer.asked_at + fresh_for);
                answer.verdict
            }
        }
    }

    fn answers(&self) -> MutexGuard<'_, Cache<HookAnswer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
            *told = Some(Instant::now());
            warn!(
                host = self.url.host_str(),
                why, "authorize-url does not say who may do what: newcomers are told to try again"
            );
        }
    }
}

/// A digest of everything that is asked about: no part of it holds a line break, and digests of tokens have one length.
fn key_of(question: &Question) -> [u8; 32] {
    let token = digest_of(question.token.as_bytes());
    let dashboard = question.dashboard.as_ref().map_or("", DashboardId::as_str);
    let (address, origin) = match &question.from {
        Some(from) => (from.address.to_string(), from.origin.as_deref().unwrap_or_default()),
        None => (String::new(), ""),
    };
    let asked = format!("{dashboard}\n{address}\n{origin}");
    digest_of(&[&token[..], asked.as_bytes()].concat())
}

impl Question {
    fn body(&self) -> Value {
        let mut body = json!({
            "token": self.token,
            "dashboard": self.dashboard.as_ref().map(DashboardId::as_str),
        });
        if let Some(from) = &self.from {
            body["address"] = from.address.to_string().into();
            body["origin"] = from.origin.as_deref().into();
        }
        if let Some(user) = &self.user {
            let groups: Vec<&str> = user.groups.iter().map(|group| &**group).collect();
            body["user"] = json!({ "id": &*user.id, "name": user.name.as_deref(), "groups": groups });
        }
        body
    }
}

/// Reads an answer: the user, and for how long the answer is fresh.
///
/// # Errors
/// In words, for the operator: the answer is not understood, and lets nobody in.
fn read(answer: &[u8], question: &Question, asked_at: Timestamp) -> Result<(User, Duration), String> {
    let mut fields = json::object(answer).map_err(|error| format!("its answer: {error}"))?;
    let valid_for = match fields.remove("valid_for") {
        None => VALID_FOR,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| *seconds > 0);
            Duration::from_secs(seconds.ok_or("valid_for is a number of seconds, at least 1")?).min(VALID_FOR_MAX)
        }
    };
    let role: Option<Role> = match text(&mut fields, "role")? {
        None => None,
        Some(role) => Some(role.parse().map_err(|_| format!("there is no role {role:?}"))?),
    };
    let grants = question.dashboard.iter().zip(role);
    let token_grants: Vec<TokenGrant> =
        grants.map(|(id, role)| TokenGrant { dashboards: Pattern::Dashboard(id.clone()), role }).collect();
    // A session goes on for twice as long as the answer is fresh: the service may be away for the second half.
    let until = asked_at + valid_for * 2;
    let user = match &question.user {
        Some(user) => {
            let valid_until = Some(user.valid_until.map_or(until, |own| own.min(until)));
            User { token_grants, valid_until, ..(**user).clone() }
        }
        None => {
            let id = text(&mut fields, "user")?.filter(|id| is_name(id)).ok_or("it names no user")?;
            let name = text(&mut fields, "name")?.filter(|name| is_name(name)).map(Arc::from);
            let groups = match fields.remove("groups") {
                None => Vec::new(),
                Some(Value::Array(groups)) if groups.len() <= GRANTS_MAX => {
                    let group = |group: Value| group.as_str().filter(|name| is_name(name)).map(Arc::from);
                    groups.into_iter().map(group).collect::<Option<_>>().ok_or("a group is a name")?
                }
                Some(_) => return Err(format!("groups is a list of at most {GRANTS_MAX} names")),
            };
            let is_operator = match fields.remove("operator") {
                None => false,
                Some(Value::Bool(is_operator)) => is_operator,
                Some(_) => return Err("operator is true or false".into()),
            };
            User {
                issuer: "authorize-url".into(),
                id: id.into(),
                name,
                groups,
                token_grants,
                is_operator,
                valid_until: Some(until),
                ..User::default()
            }
        }
    };
    Ok((user, valid_for))
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(user: Option<User>) -> Question {
        let dashboard = Some(DashboardId::parse("acme/sales").unwrap());
        Question { token: "t".into(), from: None, dashboard, user: user.map(Arc::new) }
    }

    fn answer(answer: &str) -> Result<(User, Duration), String> {
        read(answer.as_bytes(), &question(None), Timestamp(1_000))
    }

    #[test]
    fn an_answer_says_who_it_is_what_they_may_do_and_for_how_long() {
        let (ada, fresh_for) =
            answer(r#"{"user":"ada","name":"Ada","role":"viewer","groups":["x"],"valid_for":5}"#).unwrap();
        let sales = DashboardId::parse("acme/sales").unwrap();
        assert_eq!((&*ada.id, ada.token_role(&sales), fresh_for), ("ada", Some(Role::Viewer), Duration::from_secs(5)));
        assert_eq!(ada.token_role(&DashboardId::parse("acme/other").unwrap()), None, "what was asked about");
        assert_eq!(ada.valid_until, Some(Timestamp(11_000)));
        let (bob, fresh_for) = answer(r#"{"user":"bob","else":1}"#).unwrap();
        assert_eq!((bob.token_grants.len(), fresh_for, bob.is_operator), (0, VALID_FOR, false));
        let (_, fresh_for) = answer(r#"{"user":"bob","valid_for":99999999999}"#).unwrap();
        assert_eq!(fresh_for, VALID_FOR_MAX);
    }

    #[test]
    fn an_answer_that_is_not_understood_lets_nobody_in() {
        for bad in [
            "",
            "true",
            "{}",
            r#"{"user":""}"#,
            r#"{"user":7}"#,
            r#"{"user":"ada","user":"bob"}"#,
            r#"{"user":"ada","role":"admin"}"#,
            r#"{"user":"ada","role":["owner"]}"#,
            r#"{"user":"ada","valid_for":0}"#,
            r#"{"user":"ada","valid_for":"60"}"#,
            r#"{"user":"ada","groups":"sales"}"#,
            r#"{"user":"ada","groups":[1]}"#,
            r#"{"user":"ada","operator":"true"}"#,
        ] {
            assert!(answer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn behind_a_verified_token_the_answer_says_what_and_not_who() {
        let own = TokenGrant { dashboards: Pattern::parse("acme/*").unwrap(), role: Role::Owner };
        let ada =
            User { id: "ada".into(), token_grants: vec![own], valid_until: Some(Timestamp(3_000)), ..User::default() };
        let answer = br#"{"user":"root","operator":true,"role":"viewer"}"#;
        let (user, _) = read(answer, &question(Some(ada)), Timestamp(1_000)).unwrap();
        let sales = DashboardId::parse("acme/sales").unwrap();
        assert_eq!((&*user.id, user.is_operator, user.token_role(&sales)), ("ada", false, Some(Role::Viewer)));
        assert_eq!(user.valid_until, Some(Timestamp(3_000)), "no longer than the token");
    }

    #[test]
    fn an_answer_is_for_one_token_dashboard_address_and_origin() {
        let from = |last: u8, origin: Option<&str>| {
            let address = [192, 0, 2, last].into();
            Some(Whence { address, origin: origin.map(Arc::from) })
        };
        let key = |token: &str, dashboard: Option<&str>, from: Option<Whence>| {
            let dashboard = dashboard.map(|name| DashboardId::parse(name).unwrap());
            key_of(&Question { token: token.to_owned(), from, dashboard, user: None })
        };
        let keys = [
            key("t", Some("acme/sales"), from(1, None)),
            key("u", Some("acme/sales"), from(1, None)),
            key("t", Some("acme/other"), from(1, None)),
            key("t", Some("acme/sales"), from(2, None)),
            key("t", Some("acme/sales"), from(1, Some("https://app.example"))),
            key("t", None, None),
        ];
        for (n, one) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(one), "{n}");
        }
        assert_eq!(keys[0], key("t", Some("acme/sales"), from(1, None)));
    }

    /// An answer that took long replaced the one to a question that was put after it.
    #[test]
    fn an_answer_that_comes_late_gives_way_to_that_of_a_later_question() {
        let settings =
            HookSettings { url: "http://127.0.0.1:9/".into(), secret: "a secret of at least thirty-two bytes".into() };
        let hook = Hook::new(&settings, None, None).unwrap();
        let (key, first, fresh_for) = ([7; 32], now(), Duration::from_secs(60));
        let refused = HookAnswer { verdict: Err(Denied::Forbidden), asked_at: first + Duration::from_millis(1) };
        let late = HookAnswer { verdict: Ok(Arc::new(User::default())), asked_at: first };
        assert_eq!(hook.0.remember(key, refused, fresh_for).err(), Some(Denied::Forbidden));
        assert_eq!(hook.0.remember(key, late, fresh_for).err(), Some(Denied::Forbidden));
        let last = HookAnswer { verdict: Ok(Arc::new(User::default())), asked_at: first + Duration::from_millis(2) };
        assert_eq!(hook.0.remember(key, last, fresh_for).err(), None);
        assert!(hook.0.answers().get(&key, now()).is_some_and(|known| known.verdict.is_ok()));
    }

    #[test]
    fn only_an_encrypted_or_local_address_and_a_long_secret_are_taken() {
        let hook = |url: &str, secret: &str| {
            Hook::new(&HookSettings { url: url.into(), secret: secret.into() }, None, None).is_ok()
        };
        let secret = "a secret of at least thirty-two bytes";
        assert!(hook("https://app.example/authorize", secret) && hook("http://127.0.0.1:9/authorize", secret));
        assert!(!hook("http://app.example/authorize", secret) && !hook("file:///etc/passwd", secret));
        assert!(!hook("https://app.example/authorize", "short"));
    }
}
