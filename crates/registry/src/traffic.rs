//! What was sent and received, host by host.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::text::one_line;

/// What passed between us and one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The host, with its port if there is one.
    pub host: String,
    /// How many requests were answered, redirects and questions for tokens among them.
    pub requests: u64,
    /// How many bytes of answers were read, without their heads.
    pub received: u64,
    /// How many bytes of requests the network took, without their heads.
    pub sent: u64,
    /// How often the host was asked again for a manifest, or for the rest of a blob.
    pub retries: u64,
    /// How often the host was left for another one, as a mirror.
    pub fallbacks: u64,
}

impl Traffic {
    /// A JSON object, on one line.
    pub fn to_json(&self) -> String {
        let Self { host, requests, received, sent, retries, fallbacks } = self;
        serde_json::json!({
            "host": one_line(host),
            "requests": requests,
            "received": received,
            "sent": sent,
            "retries": retries,
            "fallbacks": fallbacks,
        })
        .to_string()
    }
}

/// The counts for one host.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    retries: AtomicU64,
    fallbacks: AtomicU64,
}

impl Meter {
    pub(crate) fn answered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, n_bytes: u64) {
        self.received.fetch_add(n_bytes, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, n_bytes: u64) {
        self.sent.fetch_add(n_bytes, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts for all hosts.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<BTreeMap<String, Arc<Meter>>>);

impl Meters {
    /// Those of one host.
    pub(crate) fn of(&self, host: &str) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(host.to_owned()).or_default())
    }

    pub(crate) fn all(&self) -> Vec<Traffic> {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let traffic = meters.iter().map(|(host, meter)| Traffic {
            host: host.clone(),
            requests: count(&meter.requests),
            received: count(&meter.received),
            sent: count(&meter.sent),
            retries: count(&meter.retries),
            fallbacks: count(&meter.fallbacks),
        });
        traffic.collect()
    }
}
