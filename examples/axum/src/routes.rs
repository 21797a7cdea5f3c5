//! The handlers.

use crate::serving::Stop;
use crate::websocket;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{Stream, StreamExt, stream};
use reveille::time::{Duration, interval, sleep};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// What the handlers share. They must be `Send`, and so must this, although one thread runs them.
#[derive(Clone)]
pub(crate) struct App {
    notes: Arc<Mutex<Vec<Note>>>,
    open: Arc<AtomicUsize>,
    pub(crate) stop: Stop,
}

#[derive(Clone, Serialize)]
struct Note {
    id: usize,
    text: String,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

pub(crate) fn router(stop: &Stop) -> Router {
    let app = App {
        notes: Arc::default(),
        open: Arc::default(),
        stop: stop.clone(),
    };
    Router::new()
        .route("/notes", get(list).post(add))
        .route("/notes/{id}", get(note))
        .route("/count/{n}", get(count))
        .route("/ticks", get(ticks))
        .route("/websocket", get(websocket::upgrade))
        .route("/sleep/{milliseconds}", get(slow))
        .route("/open", get(open))
        .with_state(app)
}

// --- JSON ----------------------------------------------------------------------------------------

async fn list(State(app): State<App>) -> Json<Vec<Note>> {
    Json(app.notes.lock().unwrap().clone())
}

async fn add(State(app): State<App>, Json(new): Json<NewNote>) -> impl IntoResponse {
    let mut notes = app.notes.lock().unwrap();
    let id = notes.len() + 1;
    let note = Note { id, text: new.text };
    notes.push(note.clone());
    let location = [(header::LOCATION, format!("/notes/{id}"))];
    (StatusCode::CREATED, location, Json(note))
}

async fn note(State(app): State<App>, Path(id): Path<usize>) -> Result<Json<Note>, StatusCode> {
    let notes = app.notes.lock().unwrap();
    let note = id.checked_sub(1).and_then(|at| notes.get(at));
    note.cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn slow(State(app): State<App>, Path(milliseconds): Path<u64>) -> &'static str {
    let _counted = app.count_open();
    sleep(Duration::from_millis(milliseconds)).await;
    "good morning\n"
}

// --- server-sent events --------------------------------------------------------------------------

/// Sends the numbers from 1 to `n`, and ends.
async fn count(
    State(app): State<App>,
    Path(n): Path<u64>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let open = app.count_open();
    Sse::new(stream::iter(1..=n).map(move |number| {
        let _counted = &open;
        Ok(Event::default().data(number.to_string()))
    }))
}

/// Sends an event every 0.1 s, until the client goes away or the server stops. axum's `KeepAlive`
/// needs the timers of tokio: a stream that may be silent for long sends comments by an interval.
async fn ticks(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let open = app.count_open();
    let mut tick = 0;
    let events = interval(Duration::from_millis(100)).map(move |_due| {
        let _counted = &open;
        tick += 1;
        Ok(Event::default()
            .event("tick")
            .id(tick.to_string())
            .data("x"))
    });
    // The stream is dropped when the client has gone: the next write fails then.
    Sse::new(events.take_until(Box::pin(app.stop.stopping())))
}

// --- how many are open ---------------------------------------------------------------------------

impl App {
    /// Counts a slow request, a stream of events or a WebSocket, until the value is dropped.
    pub(crate) fn count_open(&self) -> Counted {
        self.open.fetch_add(1, Relaxed);
        Counted(self.open.clone())
    }
}

pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Serialize)]
struct Open {
    open: usize,
}

async fn open(State(app): State<App>) -> Json<Open> {
    let open = app.open.load(Relaxed);
    Json(Open { open })
}
