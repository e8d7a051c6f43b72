"""What Alembic runs to migrate; `app.database.upgrade` gives it the connection."""

from alembic import context

from app.models import Base


def run() -> None:
    """Run the migrations that Alembic asks for on the connection it was given."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
    )
    context.run_migrations()


# Alembic loads this file under the name env_py; a test collector that imports it must not run it
if __name__ == "env_py":
    run()
