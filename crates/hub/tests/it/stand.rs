//! A provider that the test plays: it writes down what it was asked, and answers as it is told.
//!
//! It refuses to be the real thing: its answers are recorded shapes, written to each vendor's
//! reference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A field of the form in the body.
    pub(crate) fn form(&self, name: &str) -> String {
        let url = reqwest::Url::parse(&format!("x:?{}", self.body)).unwrap();
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What is answered.
pub(crate) enum Say {
    Json(Value),
    Status(u16),
    /// A status with `Retry-After`.
    Wait(u16, u64),
    Text(&'static str),
    /// A status with a body.
    Error(u16, Value),
    Never,
}

type Tell = Arc<dyn Fn(&Asked) -> Say + Send + Sync>;
type Book = Arc<Mutex<Vec<Asked>>>;

/// The stand-in.
pub(crate) struct Stand {
    pub(crate) url: String,
    book: Book,
}

impl Stand {
    pub(crate) async fn start(tell: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Self {
        let book = Book::default();
        let tell: Tell = Arc::new(tell);
        let router = Router::new().fallback(answer).with_state((tell, Arc::clone(&book)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, book }
    }

    /// Everything that was asked, as `METHOD /path`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let book = self.book.lock().unwrap();
        book.iter().map(|one| format!("{} {}", one.method, one.path)).collect()
    }

    /// How often this was asked.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.asked().iter().filter(|one| one.as_str() == what).count()
    }
}

async fn answer(
    State((tell, book)): State<(Tell, Book)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url = reqwest::Url::parse(&format!("x:?{}", uri.query().unwrap_or_default())).unwrap();
    let asked = Asked {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: url.query_pairs().into_owned().collect(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let say = tell(&asked);
    book.lock().unwrap().push(asked);
    let status = |code| StatusCode::from_u16(code).unwrap();
    match say {
        Say::Json(value) => value.to_string().into_response(),
        Say::Status(code) => status(code).into_response(),
        Say::Wait(code, seconds) => {
            (status(code), [("retry-after", seconds.to_string())]).into_response()
        }
        Say::Text(text) => text.into_response(),
        Say::Error(code, value) => (status(code), value.to_string()).into_response(),
        Say::Never => std::future::pending().await,
    }
}

/// Things that a provider lists until they are deleted.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Vec<String>>>);

impl Shelf {
    pub(crate) fn of(names: &[&str]) -> Self {
        Self(Arc::new(Mutex::new(names.iter().map(|&name| name.to_owned()).collect())))
    }

    /// What is there, each made into an item.
    pub(crate) fn list(&self, item: impl Fn(&str) -> Value) -> Value {
        self.0.lock().unwrap().iter().map(|name| item(name)).collect()
    }

    /// 204, or 404 for what is not there.
    pub(crate) fn take(&self, name: &str) -> Say {
        let mut all = self.0.lock().unwrap();
        let before = all.len();
        all.retain(|one| one != name);
        Say::Status(if all.len() < before { 204 } else { 404 })
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}
