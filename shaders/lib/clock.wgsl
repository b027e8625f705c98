// The state of a run. It advances on the device, so that the host need not wait: `Clock` in src/plan/mod.rs writes it
// first and reads it when the user asks.
struct Clock {
    step: u32,          // steps run, skipped ones too
    updates: u32,       // steps that changed the weights: Adam's t
    skipped: u32,       // steps whose gradients overflowed
    seed: u32,          // of the run's random numbers
    learning_rate: f32,
    unscale: f32,       // 1 / (loss scale of the gradients at hand)
    apply: u32,         // whether this step changes the weights
    halted: u32,        // 1 + the first step whose loss was not finite; 0 if there was none
    stop: u32,          // whether such a loss halts training
    dynamic: u32,       // whether the loss scale moves
    growth: f32,
    backoff: f32,
    interval: u32,      // clean steps between two growths
    clean: u32,         // clean steps since the scale last moved
    recording: u32,     // whether this step records what becomes of changes, in a plan that can
    scheduled: u32,     // whether the learning rate follows the table
    clip: f32,          // the largest norm of all gradients, in a plan that clips
    norm: f32,          // the norm of this step's
    follows: u32,       // whether states follow this step's values
    spare: u32,
}
