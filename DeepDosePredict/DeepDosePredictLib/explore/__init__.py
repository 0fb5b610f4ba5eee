"""What the plan could be instead: doses that follow priorities, what they cost, objectives for a planning system."""
