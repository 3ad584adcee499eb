//! A Secret Service that lies, hangs or drowns who asks, on a real bus (R8, R51).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};
use exeunt_host::keychain::{KeyringFiles, SecretService};
use zbus::blocking::{Connection, MessageIterator};
use zbus::message::{Message, Type};
use zbus::zvariant::{ObjectPath, Value};

use crate::keychain::Rig;

const LIMIT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// It says that it deleted, and lists the item again.
    Keeps,
    /// It wants a person to agree before it deletes.
    Prompts,
    /// It takes every call and answers none.
    Hangs,
    /// It lists a million items.
    Million,
    /// It lists some more than are looked at.
    TooMany,
    /// Its label is two megabytes long.
    Huge,
    /// A number where attributes belong.
    WrongType,
    /// Its items are at the places of other services and other users.
    Elsewhere,
    /// The item is another one when it is looked at again.
    Swaps,
}

struct Liar {
    rig: Rig,
    service: SecretService,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    fn telling(lie: Lie) -> Self {
        let rig = Rig::bus_only();
        let files = KeyringFiles::open(&rig.account).unwrap();
        let service = SecretService::new(rig.keychains_bus(), rig.account.clone(), LIMIT);
        let connection = rig.connect();
        connection.request_name("org.freedesktop.secrets").unwrap();
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&calls);
        // It ends with the bus.
        thread::spawn(move || {
            for message in MessageIterator::from(connection.clone()) {
                let Ok(message) = message else { break };
                if message.message_type() == Type::MethodCall {
                    answer(&connection, &message, lie, &heard);
                }
            }
        });
        Self { rig, service: service.with_files(files), calls }
    }

    /// What it lists, which must be known within the deadline.
    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        let before = Instant::now();
        let items = self.service.items();
        assert!(before.elapsed() < LIMIT + Duration::from_secs(3), "{:?}", before.elapsed());
        items
    }

    fn failure(lie: Lie) -> KeychainError {
        let liar = Self::telling(lie);
        assert!(liar.rig.dir.path().exists());
        liar.items().unwrap_err()
    }
}

fn answer(connection: &Connection, call: &Message, lie: Lie, heard: &Mutex<Vec<String>>) {
    let header = call.header();
    let member = header.member().map(ToString::to_string).unwrap_or_default();
    let path = header.path().map(ToString::to_string).unwrap_or_default();
    let mut heard = heard.lock().unwrap();
    heard.push(member.clone());
    let looks = heard.iter().filter(|call| *call == "GetAll").count();
    drop(heard);
    let sent = match member.as_str() {
        _ if lie == Lie::Hangs => return,
        "Get" => {
            let (_, property): (String, String) = call.body().deserialize().unwrap();
            connection.reply(&header, &property_of(&property, lie))
        }
        "GetAll" => connection.reply(&header, &item(&path, lie, looks)),
        "Delete" if lie == Lie::Prompts => connection.reply(&header, &object("/prompt/1")),
        "Delete" => connection.reply(&header, &object("/")),
        _ => connection.reply_error(&header, "org.example.Error.Unwilling", &"no"),
    };
    // Whoever asked may have hung up.
    drop(sent);
}

fn property_of(name: &str, lie: Lie) -> Value<'static> {
    let list = |count: usize| {
        let path = |number| object(&format!("/item/{number}"));
        Value::from((0..count).map(path).collect::<Vec<_>>())
    };
    match (name, lie) {
        ("Collections", _) => Value::from(vec![object("/collection")]),
        ("Label", Lie::Huge) => Value::from("x".repeat(2 * 1024 * 1024)),
        ("Label", _) => Value::from("../../etc"),
        ("Items", Lie::Million) => list(1_000_000),
        ("Items", Lie::TooMany) => list(5_000),
        ("Items", Lie::Elsewhere) => {
            let places = ["/", "/org/freedesktop/login1/user/_0", "/org/freedesktop/systemd1"];
            Value::from(places.map(object).to_vec())
        }
        _ => list(1),
    }
}

fn item(path: &str, lie: Lie, looks: usize) -> HashMap<&'static str, Value<'static>> {
    let label = if lie == Lie::Swaps { format!("look {looks}") } else { path.to_owned() };
    let service = HashMap::from([("service".to_owned(), "gh:github.com".to_owned())]);
    let attributes = if lie == Lie::WrongType { Value::from(7_u32) } else { Value::from(service) };
    HashMap::from([
        ("Label", Value::from(label)),
        ("Locked", Value::from(false)),
        ("Attributes", attributes),
    ])
}

fn object(path: &str) -> ObjectPath<'static> {
    ObjectPath::try_from(path.to_owned()).unwrap()
}

#[test]
fn an_item_that_is_only_said_to_be_deleted_is_seen_again() {
    let liar = Liar::telling(Lie::Keeps);
    let items = liar.items().unwrap();
    liar.service.clear(&items[0]).unwrap();
    assert_eq!(liar.items().unwrap(), items);
}

#[test]
fn a_prompt_is_never_run() {
    let liar = Liar::telling(Lie::Prompts);
    let items = liar.items().unwrap();
    assert!(matches!(liar.service.clear(&items[0]), Err(KeychainError::Locked)));
    let calls = liar.calls.lock().unwrap();
    assert!(calls.contains(&"Delete".to_owned()) && !calls.contains(&"Prompt".to_owned()));
}

#[test]
fn a_service_that_hangs_is_given_up_in_time() {
    assert!(matches!(Liar::failure(Lie::Hangs), KeychainError::Timeout(limit) if limit == LIMIT));
}

#[test]
fn a_service_that_drowns_who_asks_is_not_listened_to() {
    for lie in [Lie::Million, Lie::TooMany, Lie::Huge, Lie::WrongType] {
        let error = Liar::failure(lie);
        assert!(
            matches!(error, KeychainError::Failed(_) | KeychainError::Timeout(_)),
            "{lie:?}: {error}"
        );
    }
}

#[test]
fn items_at_others_places_are_only_asked_of_the_service_itself() {
    let liar = Liar::telling(Lie::Elsewhere);
    let items = liar.items().unwrap();
    assert_eq!(items.len(), 3, "{items:?}");
    // The bus would refuse the account every other service's objects; this one takes the call.
    liar.service.clear(&items[2]).unwrap();
    assert_eq!(liar.calls.lock().unwrap().iter().filter(|call| *call == "Delete").count(), 1);
}

#[test]
fn an_item_that_is_another_one_by_now_is_left() {
    let liar = Liar::telling(Lie::Swaps);
    let items = liar.items().unwrap();
    assert!(matches!(liar.service.clear(&items[0]), Err(KeychainError::Failed(_))));
    assert!(!liar.calls.lock().unwrap().contains(&"Delete".to_owned()));
}
