//! The GPU as a [`Device`].

use crate::learner::GpuLearner;
use crate::network::Network;
use crate::reader::GpuReader;
use crate::{Communicator, Error, Gpu, Meeting};
use std::sync::Arc;
use transformer::device::{Device, Learner, Plan, Reader};
use transformer::{Checkpoint, Error as ModelError, Model};

/// One GPU, as everything above the transformer sees it.
pub struct Cuda {
    gpu: Arc<Gpu>,
    group: Option<Arc<Communicator>>,
}

impl Cuda {
    /// The GPU of this number, counted from 0.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        Ok(Cuda { gpu: Gpu::open(ordinal)?, group: None })
    }

    /// This process's GPU of several that train together: by default that of its local rank.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where the other processes cannot be reached.
    pub fn join(ordinal: Option<usize>, meeting: &Meeting) -> Result<Self, Error> {
        let gpu = Gpu::open(ordinal.unwrap_or(meeting.local))?;
        let group = Some(Communicator::join(&gpu, meeting)?);
        Ok(Cuda { gpu, group })
    }

    /// The GPU itself.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }
}

impl Device for Cuda {
    fn describe(&self) -> String {
        format!("cuda:{}, {}", self.gpu.ordinal(), self.gpu.name())
    }

    fn weights(&self) -> &'static str {
        "bf16"
    }

    fn reader(&self, model: Model) -> Result<Box<dyn Reader>, ModelError> {
        Ok(Box::new(GpuReader::new(Network::new(&self.gpu, &model)?)))
    }

    fn open(&self, checkpoint: &Checkpoint) -> Result<Box<dyn Reader>, ModelError> {
        Ok(Box::new(GpuReader::new(Network::open(&self.gpu, checkpoint)?)))
    }

    fn learner(&self, model: Model, plan: &Plan) -> Result<Box<dyn Learner>, ModelError> {
        let network = Network::new(&self.gpu, &model)?;
        let mut learner = GpuLearner::new(network, plan.clone())?;
        learner.group = self.group.clone();
        learner.set_masters(&model.weights)?;
        Ok(Box::new(learner))
    }
}
