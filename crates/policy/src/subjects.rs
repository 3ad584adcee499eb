//! Whose session a console is: by a list of accounts, one fixed name, or a template.
//!
//! It refuses a pattern that stands for more than one star.

use std::collections::BTreeMap;

use exeunt_domain::Subject;

/// Whose session a console is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    /// Accounts with a subject of their own; they win over the rule.
    pub accounts: BTreeMap<String, Subject>,
    /// What holds for every other account.
    pub rule: Rule,
    /// Whom root may vouch for at this device.
    pub attest: Vec<Pattern>,
}

/// How a subject is made of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `{user}` stands for the account's name.
    Template(String),
    /// One subject, whatever the account.
    Fixed(Subject),
}

impl Default for Subjects {
    fn default() -> Self {
        let rule = Rule::Template("{user}".into());
        Self { accounts: BTreeMap::new(), rule, attest: vec![Pattern::anyone()] }
    }
}

impl Subjects {
    /// The subject of an account, as text for [`Subject::parse`].
    #[must_use]
    pub fn of(&self, account: &str) -> String {
        if let Some(subject) = self.accounts.get(account) {
            return subject.key();
        }
        match &self.rule {
            Rule::Fixed(subject) => subject.key(),
            Rule::Template(template) => template.replace("{user}", account),
        }
    }

    /// Whether root may vouch for `subject` at this device.
    #[must_use]
    pub fn may_attest(&self, subject: &Subject) -> bool {
        self.attest.iter().any(|pattern| pattern.matches(subject))
    }
}

/// A subject's name, in which one `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    before: String,
    after: Option<String>,
}

impl Pattern {
    /// Everybody.
    #[must_use]
    pub fn anyone() -> Self {
        Self { before: String::new(), after: Some(String::new()) }
    }

    /// Reads a pattern; None when it is empty or has more than one star.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('*');
        let before = parts.next()?.to_lowercase();
        let after = parts.next().map(str::to_lowercase);
        let sound = parts.next().is_none() && !(before.is_empty() && after.is_none());
        sound.then_some(Self { before, after })
    }

    /// Whether a subject's name fits.
    #[must_use]
    pub fn matches(&self, subject: &Subject) -> bool {
        let key = subject.key().to_lowercase();
        match &self.after {
            None => key == self.before,
            Some(after) => {
                key.len() >= self.before.len() + after.len()
                    && key.starts_with(&self.before)
                    && key.ends_with(after.as_str())
            }
        }
    }

    /// Whether everyone whom `other` fits, this fits too.
    #[must_use]
    pub fn covers(&self, other: &Pattern) -> bool {
        match (&self.after, &other.after) {
            (None, None) => self.before == other.before,
            (None, Some(_)) => false,
            (Some(after), None) => {
                other.before.len() >= self.before.len() + after.len()
                    && other.before.starts_with(&self.before)
                    && other.before.ends_with(after.as_str())
            }
            (Some(after), Some(theirs)) => {
                other.before.starts_with(&self.before) && theirs.ends_with(after.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::parse(text).unwrap()
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_listed_account_wins_over_the_rule() {
        let mut subjects = Subjects::default();
        subjects.accounts.insert("kiosk".into(), subject("front-desk@corp.example"));
        assert_eq!(subjects.of("kiosk"), "front-desk@corp.example");
        assert_eq!(subjects.of("alice"), "alice");
        subjects.rule = Rule::Fixed(subject("guest"));
        assert_eq!(subjects.of("alice"), "guest");
    }

    #[test]
    fn a_star_stands_for_any_text_and_only_one_is_allowed() {
        let corp = pattern("*@corp.example");
        assert!(corp.matches(&subject("A@Corp.example")));
        for other in ["a@corp.example.evil", "corp.example", "ceo"] {
            assert!(!corp.matches(&subject(other)), "{other}");
        }
        assert!(!pattern("ab*ba").matches(&subject("aba")));
        assert!(Pattern::parse("*@*").is_none() && Pattern::parse("").is_none());
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        assert!(Pattern::anyone().covers(&pattern("alice")));
        assert!(pattern("*@corp.example").covers(&pattern("a*@corp.example")));
        assert!(!pattern("a*@corp.example").covers(&pattern("*@corp.example")));
        assert!(!pattern("alice").covers(&Pattern::anyone()));
    }
}
