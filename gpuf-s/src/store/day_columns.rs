//! Figures per day as a database hands them out: in the order of the tables that `ingest::days` holds.

use common::AgentId;
use sqlx::{ColumnIndex, Decode, FromRow, Type};

use super::{
    AgentDay, Day, DeviceDay, Error, Gauge,
    columns::agent_id,
    ingest::days::{AGENT_DAYS, DEVICE_DAYS, Figures},
};

/// A row of `agent_days`.
pub(super) struct AgentDayColumns {
    day: i64,
    agent_id: Vec<u8>,
    figures: Figures,
}

/// A row of `device_days`.
pub(super) struct DeviceDayColumns {
    day: i64,
    agent_id: Vec<u8>,
    device_index: i64,
    figures: Figures,
}

impl<'r, R: sqlx::Row> FromRow<'r, R> for AgentDayColumns
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let figures =
            (2..2 + AGENT_DAYS.columns.len()).map(|at| row.try_get(at)).collect::<Result<_, _>>()?;
        Ok(Self { day: row.try_get(0)?, agent_id: row.try_get(1)?, figures })
    }
}

impl<'r, R: sqlx::Row> FromRow<'r, R> for DeviceDayColumns
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let figures =
            (3..3 + DEVICE_DAYS.columns.len()).map(|at| row.try_get(at)).collect::<Result<_, _>>()?;
        Ok(Self { day: row.try_get(0)?, agent_id: row.try_get(1)?, device_index: row.try_get(2)?, figures })
    }
}

impl AgentDayColumns {
    pub(super) fn entry(self) -> Result<((Day, AgentId), Figures), Error> {
        Ok(((day(self.day)?, agent_id(&self.agent_id)?), self.figures))
    }
}

impl DeviceDayColumns {
    pub(super) fn entry(self) -> Result<((Day, AgentId, u32), Figures), Error> {
        let index = self.device_index.try_into().map_err(|_| Error::Corrupt("a device's index"))?;
        Ok(((day(self.day)?, agent_id(&self.agent_id)?, index), self.figures))
    }
}

impl TryFrom<AgentDayColumns> for AgentDay {
    type Error = Error;

    fn try_from(row: AgentDayColumns) -> Result<Self, Error> {
        let ((day, agent_id), figures) = row.entry()?;
        let sum = |at: usize| figures[at].unwrap_or(0);
        let samples = sum(0);
        Ok(Self {
            day,
            agent_id,
            samples,
            cpu_millipercent: Gauge { sum: sum(1), count: samples, max: figures[2] },
            memory_used_bytes: Gauge { sum: sum(3), count: samples, max: figures[4] },
            memory_total_bytes: sum(5),
            disk_used_bytes: sum(6),
            disk_total_bytes: sum(7),
            received_bytes: sum(8),
            sent_bytes: sum(9),
            online_ms: sum(10),
            first_unix_ms: sum(11),
            last_unix_ms: sum(12),
        })
    }
}

impl TryFrom<DeviceDayColumns> for DeviceDay {
    type Error = Error;

    fn try_from(row: DeviceDayColumns) -> Result<Self, Error> {
        let ((day, agent_id, index), figures) = row.entry()?;
        let sum = |at: usize| figures[at].unwrap_or(0);
        let gauge = |at: usize| Gauge { sum: sum(at), count: sum(at + 1), max: figures[at + 2] };
        Ok(Self {
            day,
            agent_id,
            index,
            samples: sum(0),
            busy_millipercent: gauge(1),
            memory_used_bytes: gauge(4),
            memory_total_bytes: figures[7],
            power_milliwatts: gauge(8),
            temperature_millidegrees: gauge(11),
            energy_millijoules: sum(14),
        })
    }
}

fn day(number: i64) -> Result<Day, Error> {
    Day::from_number(number).ok_or(Error::Corrupt("a day"))
}
