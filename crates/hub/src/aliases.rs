//! The operators' own rules for which names are one subject's: templates that share a `{user}`.
//!
//! It refuses a template that could fit everybody, and never joins names that no rule spells out.

use std::path::{Path, PathBuf};

use exeunt_domain::Subject;
use serde::Deserialize;

/// What stands for the part that the names of one subject share.
const USER: &str = "{user}";
/// Most rules in a file, and most templates in a rule.
const MOST: usize = 16;

/// Every rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// Names that are one subject's whenever they share their `{user}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// How the record names it.
    name: String,
    /// The templates.
    same: Vec<String>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It cannot be read, or is no such TOML.
    #[error("{path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A rule is of no use, or would be of too much.
    #[error("{path}: rule {rule:?}: {why}")]
    Useless {
        /// Which file.
        path: PathBuf,
        /// Which rule.
        rule: String,
        /// Why.
        why: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Rule>,
}

impl Rules {
    /// Reads the file.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn read(path: &Path) -> Result<Self, RulesError> {
        let failed = |why: String| RulesError::Unreadable { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(|error| match error {
            Bad::Toml(why) => failed(why),
            Bad::Rule(rule, why) => RulesError::Useless { path: path.to_owned(), rule, why },
        })
    }

    fn parse(text: &str) -> Result<Self, Bad> {
        let file: File = toml::from_str(text).map_err(|error| Bad::Toml(error.to_string()))?;
        if file.rule.len() > MOST {
            return Err(Bad::Toml("more than 16 rules".into()));
        }
        for rule in &file.rule {
            rule.judge().map_err(|why| Bad::Rule(rule.name.clone(), why))?;
        }
        Ok(Self(file.rule))
    }

    /// What the rules make of a subject's key: the rule's name and another key.
    pub fn same(&self, key: &str) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().flat_map(move |rule| rule.same(key))
    }
}

enum Bad {
    Toml(String),
    Rule(String, &'static str),
}

impl Rule {
    fn judge(&self) -> Result<(), &'static str> {
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Err("it needs a name, for the record");
        }
        if !(2..=MOST).contains(&self.same.len()) {
            return Err("`same` has 2 to 16 templates");
        }
        for template in &self.same {
            if template.matches(USER).count() != 1 {
                return Err("each template has {user} in it, once");
            }
            // As people type it, so that a template and the registry mean the same name.
            let example = template.replace(USER, "u");
            match Subject::parse(&example) {
                Ok(subject) if subject.key() == example => {}
                Ok(_) | Err(_) => {
                    return Err("a template is a subject as the hub writes it, in lower case");
                }
            }
        }
        Ok(())
    }

    fn same(&self, key: &str) -> Vec<(&str, String)> {
        let users = self.same.iter().filter_map(|template| user_of(template, key));
        let mut found: Vec<(&str, String)> = users
            .flat_map(|user| self.same.iter().map(move |other| other.replace(USER, user)))
            .filter(|other| other != key)
            // A name's case counts where an address's does not: what it becomes must be a key.
            .filter_map(|other| Some((self.name.as_str(), Subject::parse(&other).ok()?.key())))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// What stands for `{user}` in a key that fits the template: letters, digits, `.`, `_`, `-` and `+`.
fn user_of<'a>(template: &str, key: &'a str) -> Option<&'a str> {
    let (before, after) = template.split_once(USER)?;
    let user = key.strip_prefix(before)?.strip_suffix(after)?;
    let fine = |c: char| c.is_alphanumeric() || "._-+".contains(c);
    (!user.is_empty() && user.chars().all(fine)).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAFF: &str = "[[rule]]\nname = 'staff'\n\
        same = ['acct:{user}@corp', '{user}@corp.example', '{user}']";

    fn rules(text: &str) -> Rules {
        Rules::parse(text).unwrap_or_else(|_| panic!("{text}"))
    }

    fn same(rules: &Rules, key: &str) -> Vec<String> {
        rules.same(key).map(|(_, key)| key).collect()
    }

    #[test]
    fn a_rule_leads_from_each_of_its_names_to_the_others_and_to_nobody_else() {
        let rules = rules(STAFF);
        assert_eq!(same(&rules, "alice"), ["acct:alice@corp", "alice@corp.example"]);
        assert_eq!(same(&rules, "alice@corp.example"), ["acct:alice@corp", "alice"]);
        assert_eq!(rules.same("acct:a.b@corp").next().unwrap().0, "staff");
        for stranger in ["alice@corp.example.evil", "a b", "acct:@corp", "https://i.example|u1"] {
            assert_eq!(same(&rules, stranger), [""; 0], "{stranger}");
        }
        assert_eq!(same(&Rules::default(), "alice"), [""; 0]);
    }

    #[test]
    fn a_name_with_capitals_leads_to_the_address_as_the_registry_writes_it() {
        assert!(same(&rules(STAFF), "Alice").contains(&"alice@corp.example".to_owned()));
    }

    #[test]
    fn refuses_rules_that_fit_everybody_nobody_or_cannot_be_written_so() {
        for (same, why) in [
            ("['{user}']", "2 to 16"),
            ("['all', '{user}']", "once"),
            ("['{user}{user}', '{user}']", "once"),
            ("['{user}@Corp.example', '{user}']", "lower case"),
        ] {
            let text = format!("[[rule]]\nname = 'r'\nsame = {same}");
            let Err(Bad::Rule(name, said)) = Rules::parse(&text) else { panic!("{same}") };
            assert!(name == "r" && said.contains(why), "{said}");
        }
        assert!(Rules::parse("[[rule]]\nname = 'r'\nsame = []\nwider = true").is_err());
    }

    #[test]
    fn names_the_file_and_the_rule() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aliases.toml");
        assert!(Rules::read(&path).unwrap_err().to_string().contains("aliases.toml"));
        std::fs::write(&path, "[[rule]]\nname = 'staff'\nsame = ['a', 'b']").unwrap();
        let said = Rules::read(&path).unwrap_err().to_string();
        assert!(said.contains("\"staff\"") && said.contains("{user}"), "{said}");
    }
}
