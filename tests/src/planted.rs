//! Credential files of programs, in their true formats, with tokens that open nothing.
//!
//! It refuses to hold a real secret: every token is a canary made for one run.

use anyhow::Result;
use serde_json::json;

use crate::people::Person;

/// Credential files of one home.
#[derive(Debug)]
pub struct Planted {
    canary: String,
}

const AWS: &str = ".aws/sso/cache/d033e22ae348aeb5660fc2140aec35850c4da997.json";
const AWS_CONFIG: &str = ".aws/config";
const GH: &str = ".config/gh/hosts.yml";
const CLAUDE: &str = ".claude/.credentials.json";
const CLAUDE_SETTINGS: &str = ".claude/settings.json";

/// Files that hold a token.
const PLACES: [&str; 3] = [AWS, GH, CLAUDE];
/// Files that hold none, and must stay as they are.
const KEPT: [&str; 2] = [AWS_CONFIG, CLAUDE_SETTINGS];

impl Planted {
    /// Writes them into the home of `person`.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn plant(person: &Person, canary: &str) -> Result<Self> {
        person.write(AWS, aws(canary).to_string())?;
        person.write(AWS_CONFIG, "[profile corp]\nsso_session = corp\nregion = eu-central-1\n")?;
        person.write(GH, gh(canary))?;
        person.write(CLAUDE, claude(canary).to_string())?;
        person.write(CLAUDE_SETTINGS, "{\"theme\":\"dark\"}\n")?;
        Ok(Self { canary: canary.to_owned() })
    }

    /// The files, relative to the home, in which the canary can still be read.
    #[must_use]
    pub fn found(&self, person: &Person) -> Vec<String> {
        let holds = |place: &&str| {
            std::fs::read_to_string(person.home.join(place))
                .is_ok_and(|text| text.contains(&self.canary))
        };
        PLACES.iter().filter(|place| holds(place)).map(|place| (*place).to_owned()).collect()
    }

    /// The files, relative to the home, that should have stayed and did not.
    #[must_use]
    pub fn missing(&self, person: &Person) -> Vec<String> {
        let missing = |place: &&str| !person.home.join(place).is_file();
        KEPT.iter().filter(|place| missing(place)).map(|place| (*place).to_owned()).collect()
    }
}

fn aws(canary: &str) -> serde_json::Value {
    json!({
        "startUrl": "https://corp.awsapps.example/start",
        "region": "eu-central-1",
        "accessToken": format!("aoaAAAAA{canary}"),
        "expiresAt": "2031-01-01T00:00:00Z",
        "clientId": "c1ient",
        "clientSecret": canary,
        "registrationExpiresAt": "2031-01-01T00:00:00Z",
        "refreshToken": format!("aorAAAAA{canary}"),
    })
}

fn gh(canary: &str) -> String {
    format!(
        "github.com:\n    users:\n        alice:\n            oauth_token: gho_{canary}\n    \
         git_protocol: https\n    oauth_token: gho_{canary}\n    user: alice\n"
    )
}

fn claude(canary: &str) -> serde_json::Value {
    json!({
        "claudeAiOauth": {
            "accessToken": format!("sk-ant-oat01-{canary}"),
            "refreshToken": format!("sk-ant-ort01-{canary}"),
            "expiresAt": 1_924_988_400_000_u64,
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
        }
    })
}
