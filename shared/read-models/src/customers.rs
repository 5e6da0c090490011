//! The `customers` projection: one row per customer.

use domain::customer::StoredAddress;
use domain::{Customer, CustomerEvent, CustomerStatus};
use kernel::{Aggregate, EventEnvelope};
use projection::{FoldError, Folded, Projection, RowWrite, Table, beginning, begun};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) const CUSTOMER: Table =
    Table::new("customer_read_model", &["customer_id"], &[], "customer_id");

/// Folds the events of one customer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Customers;

/// What is remembered of a customer: the addresses, because the row shows all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CustomersView {
    addresses: Vec<AddressView>,
}

/// An address, as the row shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// Names it for ever.
    pub address_id: Uuid,
    /// The place.
    #[serde(flatten)]
    pub address: StoredAddress,
}

impl Projection for Customers {
    const NAME: &'static str = "customers";
    const CODE_VERSION: u32 = 1;
    const TABLES: &'static [Table] = &[CUSTOMER];
    const AGGREGATE_TYPE: &'static str = Customer::TYPE;
    type Event = CustomerEvent;
    type View = CustomersView;

    fn project(
        &self,
        view: Option<CustomersView>,
        event: &EventEnvelope<CustomerEvent>,
    ) -> Result<Folded<CustomersView>, FoldError> {
        let view = folded(view, &event.payload)?;
        let row = RowWrite::upsert(CUSTOMER.name)
            .key("customer_id", event.aggregate_id)
            .set("version", event.version)
            .set("updated_at", event.recorded_at);
        let row = with_changed(row, &view, &event.payload);
        Ok((view, vec![row]))
    }
}

/// The view after an event.
fn folded(view: Option<CustomersView>, event: &CustomerEvent) -> Result<CustomersView, FoldError> {
    match event {
        CustomerEvent::Registered { .. } => {
            beginning(view, CustomersView { addresses: Vec::new() })
        }
        CustomerEvent::AddressAdded { address_id, address, .. } => {
            let mut view = begun(view)?;
            view.addresses.push(AddressView { address_id: *address_id, address: address.clone() });
            Ok(view)
        }
        CustomerEvent::AddressRemoved { address_id, .. } => {
            let mut view = begun(view)?;
            view.addresses.retain(|known| known.address_id != *address_id);
            Ok(view)
        }
        CustomerEvent::ProfileUpdated { .. }
        | CustomerEvent::EmailChanged { .. }
        | CustomerEvent::Suspended { .. }
        | CustomerEvent::Reactivated { .. }
        | CustomerEvent::Deactivated { .. } => begun(view),
    }
}

/// The columns that an event changes.
fn with_changed(row: RowWrite, view: &CustomersView, event: &CustomerEvent) -> RowWrite {
    match event {
        CustomerEvent::Registered { name, email, phone, registered_at } => row
            .set("name", name.as_str())
            .set("email", email.as_str())
            .set_or_clear("phone", phone.as_deref())
            .set("status", CustomerStatus::Active.as_str())
            .set("addresses", addresses(view))
            .set("registered_at", *registered_at),
        CustomerEvent::ProfileUpdated { name, phone, .. } => {
            row.set("name", name.as_str()).set_or_clear("phone", phone.as_deref())
        }
        CustomerEvent::EmailChanged { email, .. } => row.set("email", email.as_str()),
        CustomerEvent::AddressAdded { .. } | CustomerEvent::AddressRemoved { .. } => {
            row.set("addresses", addresses(view))
        }
        CustomerEvent::Suspended { reason, .. } => row
            .set("status", CustomerStatus::Suspended.as_str())
            .set("status_reason", reason.as_str()),
        CustomerEvent::Reactivated { .. } => {
            row.set("status", CustomerStatus::Active.as_str()).clear("status_reason")
        }
        CustomerEvent::Deactivated { reason, .. } => row
            .set("status", CustomerStatus::Deactivated.as_str())
            .set("status_reason", reason.as_str()),
    }
}

fn addresses(view: &CustomersView) -> String {
    serde_json::to_string(&view.addresses).expect("plain fields are JSON")
}
