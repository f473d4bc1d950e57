//! The settings of the group `mail`.

use super::message::is_plain_address;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the token replaces in `mail.reset_url`.
pub(super) const TOKEN: &str = "{token}";

/// The settings as they are written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MailSettings {
    from: Option<String>,
    folder: Option<PathBuf>,
    command: Option<Vec<String>>,
    reset_url: Option<String>,
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct MailConfig {
    pub(super) way: Way,
    pub(super) from: String,
    pub(super) reset_url: String,
}

#[derive(Debug, Clone)]
pub(super) enum Way {
    Folder(PathBuf),
    /// A program and its arguments.
    Command(Vec<String>),
}

impl MailSettings {
    #[cfg(test)]
    pub(crate) fn to_folder(folder: PathBuf) -> Self {
        Self { folder: Some(folder), ..Self::default() }
    }

    /// None when no way is named: then no mail is sent. Adds what is wrong to `faults`.
    pub(crate) fn check(self, faults: &mut Vec<String>) -> Option<MailConfig> {
        let way = match (self.folder, self.command) {
            (None, None) => return None,
            (Some(folder), None) => Way::Folder(folder),
            (None, Some(command)) if command.first().is_some_and(|program| !program.is_empty()) => {
                Way::Command(command)
            }
            (None, Some(_)) => {
                faults.push("mail.command names no program".to_owned());
                return None;
            }
            (Some(_), Some(_)) => {
                faults.push("mail.folder and mail.command are two ways, name one".to_owned());
                return None;
            }
        };
        let from = self.from.unwrap_or_else(|| "no-reply@localhost".to_owned());
        let address =
            from.rsplit_once('<').map_or(from.as_str(), |(_, address)| address.trim_end_matches('>'));
        if !is_plain_address(address) || from.chars().any(char::is_control) || !from.is_ascii() {
            faults.push(format!("mail.from is {from:?}, not ADDRESS or NAME <ADDRESS> in ASCII"));
        }
        let reset_url =
            self.reset_url.unwrap_or_else(|| format!("http://localhost:3000/reset#token={TOKEN}"));
        if !reset_url.contains(TOKEN) {
            faults.push(format!("mail.reset_url is {reset_url:?}, without {TOKEN}"));
        }
        Some(MailConfig { way, from, reset_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(settings: MailSettings) -> Vec<String> {
        let mut faults = Vec::new();
        settings.check(&mut faults);
        faults
    }

    #[test]
    fn no_way_is_no_mail_and_each_fault_is_told() {
        assert!(MailSettings::default().check(&mut Vec::new()).is_none());
        let folder = Some(PathBuf::from("mail"));
        let two =
            MailSettings { folder: folder.clone(), command: Some(vec!["x".into()]), ..Default::default() };
        assert_eq!(faults(two).len(), 1);
        assert_eq!(faults(MailSettings { command: Some(Vec::new()), ..Default::default() }).len(), 1);
        let wrong = MailSettings {
            folder: folder.clone(),
            from: Some("a\r\nBcc: b@c".into()),
            reset_url: Some("https://app.example/".into()),
            ..Default::default()
        };
        assert_eq!(faults(wrong).len(), 2);
        let right = MailSettings {
            folder,
            from: Some("Rollcall <no-reply@x.example>".into()),
            reset_url: Some("https://app.example/reset#{token}".into()),
            ..Default::default()
        };
        assert!(faults(right).is_empty());
    }
}
