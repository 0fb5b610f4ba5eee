"""Where things are: grids, shapes, contours, body and dose mask, the model grid, and the way from a scan to a Case."""
