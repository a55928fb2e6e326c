//! Who issues tokens: the settings for one issuer, and the file with several, put together.

use serde::Deserialize;

use super::{Config, ConfigError};
use crate::auth::{Hook, IssuerSettings, OWN, Tokens};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<IssuerSettings>,
}

/// Every issuer that is configured, each checked, and the files with their keys read.
pub(super) fn all(config: &Config) -> Result<Vec<IssuerSettings>, ConfigError> {
    let mut issuers = Vec::new();
    if !config.auth_secret.0.is_empty() {
        let secret = Some(config.auth_secret.0.clone());
        issuers.push(IssuerSettings { issuer: OWN.into(), secret, ..IssuerSettings::default() });
    }
    if !config.auth_issuer.is_empty() {
        issuers.push(IssuerSettings {
            issuer: config.auth_issuer.clone(),
            preset: config.auth_preset,
            audience: config.auth_audience.clone(),
            keys: (config.auth_keys != "discover").then(|| config.auth_keys.clone()),
            role: (!config.auth_role.is_empty()).then(|| config.auth_role.clone()),
            ..IssuerSettings::default()
        });
    } else if config.auth_preset.is_some() || !config.auth_audience.is_empty() || !config.auth_role.is_empty() {
        return Err(ConfigError::Unfit(
            "auth-preset, auth-audience and auth-role are about auth-issuer, which is not set".into(),
        ));
    }
    if !config.auth_file.is_empty() {
        let path = std::path::PathBuf::from(&config.auth_file);
        let text =
            std::fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        let file: File = toml::from_str(&text).map_err(|source| ConfigError::Syntax { path: path.clone(), source })?;
        if file.issuer.is_empty() {
            return Err(ConfigError::Unfit(format!("{} has no table [[issuer]]", path.display())));
        }
        issuers.extend(file.issuer);
    }
    Tokens::new(&issuers, None, super::duration).map_err(ConfigError::Unfit)?;
    match config.hook() {
        Some(hook) => _ = Hook::new(&hook, None, None).map_err(ConfigError::Unfit)?,
        None if !config.authorize_secret.0.is_empty() => {
            return Err(ConfigError::Unfit("authorize-secret is about authorize-url, which is not set".into()));
        }
        None => {}
    }
    Ok(issuers)
}
