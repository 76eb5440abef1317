//! Which traces are recorded.

use opentelemetry_sdk::trace::Sampler;

use crate::environment::{Environment, Sampling};
use crate::settings::TelemetrySettings;

/// The sampler: the ratio of the settings, else that of the environment, else all. A caller's decision is followed.
pub(crate) fn sampler(settings: &TelemetrySettings, environment: &Environment) -> Sampler {
    let mut sampling = environment.sampling.unwrap_or_default();
    if let Some(ratio) = settings.sample_ratio {
        sampling = Sampling {
            ratio: ratio.get(),
            parent_based: true,
        };
    }
    if environment.disabled {
        // Nothing is recorded here, yet what a caller decided still reaches those who are called.
        sampling = Sampling {
            ratio: 0.0,
            parent_based: true,
        };
    }
    let root = match sampling.ratio {
        ratio if ratio >= 1.0 => Sampler::AlwaysOn,
        ratio if ratio <= 0.0 => Sampler::AlwaysOff,
        ratio => Sampler::TraceIdRatioBased(ratio),
    };
    if sampling.parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hafnium_core::config::Ratio;

    fn name(settings: &TelemetrySettings, environment: &Environment) -> String {
        format!("{:?}", sampler(settings, environment))
    }

    #[test]
    fn the_settings_win_over_the_environment_and_disabled_over_both() {
        let mut settings = TelemetrySettings::default();
        let mut environment = Environment::default();
        assert_eq!(name(&settings, &environment), "ParentBased(AlwaysOn)");
        environment.sampling = Some(Sampling {
            ratio: 0.5,
            parent_based: false,
        });
        assert_eq!(name(&settings, &environment), "TraceIdRatioBased(0.5)");
        settings.sample_ratio = Some(Ratio::from_percent(10));
        assert_eq!(
            name(&settings, &environment),
            "ParentBased(TraceIdRatioBased(0.1))"
        );
        environment.disabled = true;
        assert_eq!(name(&settings, &environment), "ParentBased(AlwaysOff)");
    }
}
