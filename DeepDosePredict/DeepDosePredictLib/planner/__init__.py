"""The learned inverse planner: beams, fluence fit, aims, spread over the beams, and what can be delivered."""
