"""Why a detector decides as it does: which bands and moments of a recording are unlike normal sound."""
