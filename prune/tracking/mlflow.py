"""Figures of a run as a run of MLflow (`pip install "prune-dl[mlflow]"`)."""

from ..errors import UsageError, first_line

EXPERIMENT = "prune-dl"


class MlflowTracker:
    """Logs figures as metrics of one MLflow run.

    Server or store are MLflow's own: MLFLOW_TRACKING_URI says which. The run that a program of
    yours may have open is left alone.
    """

    def __init__(self, run_name: str, *, experiment: str = EXPERIMENT) -> None:
        """Begin a run; the experiment is made where there is none of that name.

        Raises:
            UsageError: MLflow is not installed, or its store cannot be used.
        """
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise UsageError(
                "figures for MLflow asked for, which is not installed; "
                'install it with pip install "prune-dl[mlflow]"'
            ) from None
        try:
            self._client = MlflowClient()
            found = self._client.get_experiment_by_name(experiment)
            place = found.experiment_id if found else self._client.create_experiment(experiment)
            self.run_id: str = self._client.create_run(place, run_name=run_name).info.run_id
        except MlflowException as error:
            raise UsageError(
                f"figures for MLflow asked for, whose store cannot be used ({first_line(error)}); "
                "set MLFLOW_TRACKING_URI to one that can"
            ) from error

    def metric(self, name: str, value: float, step: int) -> None:
        """Log one figure."""
        self._client.log_metric(self.run_id, name, value, step=step)

    def finish(self, failed: bool) -> None:
        """End the run, as finished or failed."""
        self._client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")
