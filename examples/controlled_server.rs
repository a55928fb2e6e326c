//! A server as an application embeds it: with an authenticator of its own, and here with a store that can be taken away.
//!
//! `tests/interop/` plays with it what the binary alone does not offer: tokens that are good, bad or short-lived, and an outage. It
//! takes `--name value` for every setting, tells its address like `ydash serve`, and obeys the lines `store down` and `store up`.
//! Tokens: `editor` and `viewer`, `short` for three seconds of editing, and nothing else.

use std::collections::BTreeMap;
use std::io::stdin;
use std::sync::Arc;
use std::time::Duration;

use ydash::auth::{Authenticator, Caller, Denied, Eventual, now};
use ydash::config::{Config, Layers};
use ydash::server::Server;
use ydash::store::memory::MemoryStore;
use ydash_proto::access::{Access, Admission};

struct Tokens;

impl Authenticator for Tokens {
    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission> {
        Eventual::Now(match caller.token {
            Some("editor") => Ok(Admission::anonymous(Access::EDITOR)),
            Some("viewer") => Ok(Admission::anonymous(Access::VIEWER)),
            Some("short") => {
                let until = Some(now() + Duration::from_secs(3));
                Ok(Admission { until, ..Admission::anonymous(Access::EDITOR) })
            }
            _ => Err(Denied::Unauthenticated),
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut flags = Vec::new();
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        flags.push((name.trim_start_matches("--").to_owned(), value));
    }
    let (config, _) = Config::load(&Layers { flags, environment: BTreeMap::new(), file: None })?;
    let store = MemoryStore::new();
    let server = Server::bind(Arc::new(config))?.with_authenticator(Arc::new(Tokens));
    println!("serving on http://{}/", server.local_address());
    let (faults, shutdown) = (store.clone(), server.shutdown().clone());
    std::thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            match line.as_str() {
                "store down" => faults.faults().set_down(true),
                "store up" => faults.faults().set_down(false),
                other => eprintln!("not understood: {other}"),
            }
        }
        shutdown.begin(); // Whoever started it is gone.
    });
    tokio::spawn(server.shutdown().clone().begin_on_signals());
    server.serve(Arc::new(store)).await;
    Ok(())
}
