"""FaultBench: real small trainings, faults injected for real, and a judgement of who notices."""
