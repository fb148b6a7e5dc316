"""params.yaml as typed objects. Import the submodules: training depends on two of them only."""
