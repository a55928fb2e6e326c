//! `ydash token`: mints a token with `auth-secret`, or makes a key pair or a secret to sign tokens with elsewhere.
//!
//! What was asked for stands alone on standard output, so that `TOKEN=$(ydash token …)` works.

use core::time::Duration;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use ydash_proto::access::Role;
use ydash_proto::id::DashboardId;

use super::transfer::now;
use crate::auth::{self, Minting};
use crate::cli::Outcome;
use crate::config::{self, Config, Layers};

/// `token` without the knobs.
pub(super) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let switch =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let other = ["new-key", "new-secret"];
    Command::new("token")
        .about("Prints a token signed with auth-secret, to open a dashboard with or to try something out")
        .arg(text("user", "USER", "Who it is for").required_unless_present_any(other))
        .arg(text("name", "NAME", "What people call the user"))
        .arg(text("group", "GROUP", "A group of the user; may be repeated").action(ArgAction::Append))
        .arg(
            text(
                "role",
                "ROLE",
                "What the token itself gives: watcher, viewer, editor or owner; without, it says only who",
            )
            .value_parser(|text: &str| text.parse::<Role>().map_err(|error| error.to_string()))
            .requires("dashboard"),
        )
        .arg(
            text("dashboard", "ID", "Where, as acme/sales, acme/finance/* or acme/*; may be repeated")
                .action(ArgAction::Append),
        )
        .arg(switch("operator", "The user operates the server: reads /metrics, /api/nodes and /inspector"))
        .arg(
            text("for", "TIME", "For how long, such as 15m, 8h or 30d")
                .default_value("1h")
                .value_parser(|text: &str| config::duration(text)),
        )
        .arg(
            switch("link", "Prints a link that opens the page as that user; the token stays in the browser")
                .requires("dashboard"),
        )
        .arg(text("url", "URL", "Where the page is, for --link; by default what ydash listens on"))
        .arg(switch("new-key", "Prints a new key pair as JSON (JWK): sign tokens with `private`, give ydash `public`"))
        .arg(switch("new-secret", "Prints a new secret for auth-secret"))
}

/// Runs `ydash token`.
pub(super) fn run(layers: &Layers, options: &ArgMatches) -> Outcome {
    if options.get_flag("new-key") {
        let (private, public) = auth::new_key()?;
        println!("{}", serde_json::json!({ "private": private, "public": public }));
        return Ok(ExitCode::SUCCESS);
    }
    if options.get_flag("new-secret") {
        println!("{}", auth::new_secret()?);
        return Ok(ExitCode::SUCCESS);
    }
    let (config, _) = Config::load(layers)?;
    if config.auth_secret.0.is_empty() {
        return Err(
            "auth-secret is not set: tokens are signed with it, and the server that is to take them needs the same \
             (YDASH_AUTH_SECRET; ydash token --new-secret prints one)"
                .into(),
        );
    }
    let many =
        |name: &str| options.get_many::<String>(name).into_iter().flatten().map(String::as_str).collect::<Vec<_>>();
    let text = |name: &str| options.get_one::<String>(name).map(String::as_str);
    let dashboards = many("dashboard");
    let role = options.get_one::<Role>("role");
    let lifetime = *options.get_one::<Duration>("for").expect("it has a default");
    if lifetime.as_secs() == 0 {
        return Err("--for is less than a second".into());
    }
    let token = auth::mint(
        &config.auth_secret.0,
        &Minting {
            user: text("user").expect("required"),
            name: text("name"),
            groups: many("group"),
            grants: role.map_or_else(Vec::new, |role| dashboards.iter().map(|one| (*one, *role)).collect()),
            is_operator: options.get_flag("operator"),
            now: now(),
            lifetime,
        },
    )?;
    if !options.get_flag("link") {
        println!("{token}");
        return Ok(ExitCode::SUCCESS);
    }
    let dashboard = dashboards.first().expect("--link requires it");
    if dashboard.ends_with("/*") {
        return Err(format!("--link opens one dashboard, not {dashboard}").into());
    }
    let dashboard = DashboardId::parse(dashboard)?;
    let page =
        text("url").map_or_else(|| format!("http://{}", config.listen), |url| url.trim_end_matches('/').to_owned());
    // Behind the `#`, which browsers send to no server and no log.
    println!("{page}/d/{}#token={token}", encoded(dashboard.as_str()));
    Ok(ExitCode::SUCCESS)
}

/// A path with everything percent-encoded that could mean something else in a URL.
fn encoded(path: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b'@' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}
