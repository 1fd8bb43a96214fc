"""Pictures of things with known factors, drawn by marching rays through signed distances."""
